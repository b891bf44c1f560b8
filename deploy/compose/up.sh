#!/usr/bin/env bash
# Build the image and start everything of compose.yaml; secrets are made once. `deploy/compose/up.sh down` ends it
# and keeps the volumes, `down -v` takes those away too. BASE and the other images: docs/containers.md.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ -n ${COMPOSE:-} ]]; then read -ra compose <<<"$COMPOSE"
elif command -v podman-compose >/dev/null; then compose=(podman-compose)
elif docker compose version >/dev/null 2>&1; then compose=(docker compose)
else echo "Neither podman-compose nor docker compose is installed. Try: apt-get install podman podman-compose" >&2; exit 2
fi
compose+=(-p rollout -f compose.yaml)
if [[ ${1:-up} == down ]]; then exec "${compose[@]}" "$@"; fi

secrets=deploy/compose/secrets
(umask 077 && mkdir -p $secrets)
[[ -s $secrets/orders ]] || printf 'whsec_%s\n' "$(head -c 32 /dev/urandom | base64)" >$secrets/orders
[[ -e $secrets/metrics ]] || : >$secrets/metrics
[[ -s $secrets/database ]] || printf 'postgresql://rollout:%s@postgres/rollout\n' "$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')" >$secrets/database
chmod 0444 $secrets/*  # the folder keeps others out; in a container another user reads the file

export BUILDAH_FORMAT=docker # podman keeps the image's health check in this format alone
[[ -n ${NO_BUILD:-} ]] || "${compose[@]}" build controller
"${compose[@]}" up -d

engine=${ENGINE:-$([[ ${compose[0]} == docker ]] && echo docker || echo podman)}
named() {
  local id; id=$("$engine" ps -aq --filter label=com.docker.compose.project=rollout --filter "label=com.docker.compose.service=$1")
  "$engine" inspect --format '{{.Name}}' "$id" | sed 's,^/,,'
}
unstarted=$("$engine" ps -a --filter label=com.docker.compose.project=rollout --filter status=created --format '{{.Names}}')
if [[ -n $unstarted ]]; then
  echo "Not started: ${unstarted//$'\n'/, }. The reason is above. Where it is cgroups or rlimits:" >&2
  echo "install runc, and export CONTAINERS_CONF=$PWD/deploy/compose/containers.conf (docs/containers.md). Then: $0" >&2
  exit 1
fi
# The replica that was first has the first admin token.
replicas=("$(named controller)" "$(named controller-2)")
for _ in $(seq 240); do
  for controller in "${replicas[@]}"; do
    inside=("$engine" exec -e ROLLOUT_URL=http://127.0.0.1:8080 "$controller" rollout)
    "${inside[@]}" whoami >/dev/null 2>&1 && break 2
  done
  sleep 0.5
done
"${inside[@]}" whoami >/dev/null || { echo "No replica came up. Its log: $engine logs ${replicas[0]}" >&2; exit 1; }
# Prometheus reads the controller with a viewer's token, good for 90 days; one that is refused is made anew.
ROLLOUT_TOKEN=$(<$secrets/metrics) && export ROLLOUT_TOKEN
if [[ -z $ROLLOUT_TOKEN ]] || ! "$engine" exec -e ROLLOUT_TOKEN "${inside[@]:2}" whoami >/dev/null 2>&1; then
  token=$("${inside[@]}" token create prometheus --role viewer)
  chmod u+w $secrets/metrics && printf '%s' "$token" >$secrets/metrics && chmod 0444 $secrets/metrics
fi
echo "The page: http://127.0.0.1:${ROLLOUT_PUBLISH:-8080}   its token: $engine exec $controller cat /data/admin-token"
echo "Then:     $engine exec $controller rollout service put mail-sender --policy quick"
