# On an upgrade, the new package restarts what runs.
[ "$1" != remove ] || stop_units
