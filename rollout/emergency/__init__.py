"""What people need when the database is gone: what is known good where, and a record of what they did.

`known_good` is the file that every controller keeps, `record` the chain of emergencies, `seal` signs both,
`restoring` orders one region back, `reconciled` keeps the file and takes the record into a database. Nothing
here knows the store's SQL, so that nothing here needs it.
"""
