#!/bin/sh
# PostgreSQL for the replicas, from the official image or from Debian's package: the same start on a new volume and on an
# old one. What it is called, and its password, are those of the URL that the replicas read.
set -eu
data=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
  # Once it is another's, root without its powers may not change its mode.
  [ "$(stat -c %U $data)" = postgres ] || { chmod 0700 $data && chown postgres: $data; }
  exec setpriv --reuid postgres --regid postgres --init-groups --inh-caps -all --bounding-set -all /bin/sh "$0"
fi
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
if [ ! -s $data/PG_VERSION ]; then
  url=$(cat /run/secrets/database) && who=${url#*://} && who=${who%%@*}
  umask 077 && printf '%s\n' "${who#*:}" >/tmp/password
  "$bin/initdb" -D $data --username="${who%%:*}" --pwfile=/tmp/password --auth=scram-sha-256 --data-checksums --encoding=UTF8 --locale=C.UTF-8
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>$data/pg_hba.conf
  echo "CREATE DATABASE \"${url##*/}\"" | "$bin/postgres" --single -j -D $data postgres
fi
exec "$bin/postgres" -D $data -c listen_addresses='*' -c unix_socket_directories=/tmp
