# On an upgrade, the new package restarts what runs.
[ "$1" -ne 0 ] || stop_units
