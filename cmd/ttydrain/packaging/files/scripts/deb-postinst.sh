[ "$1" = configure ] || exit 0
create_user
if [ -z "$2" ]; then # the first installation
	chown ttydrain:ttydrain /etc/ttydrain /etc/ttydrain/ttydrain.yaml
fi
install -d -m 0700 -o ttydrain -g ttydrain /var/lib/ttydrain
if [ -z "$2" ]; then
	reload_units
	explain
else
	restart_units
fi
