install -d -m 0700 -o ttydrain -g ttydrain /var/lib/ttydrain
if [ "$1" -eq 1 ]; then
	reload_units
	explain
else
	restart_units
fi
