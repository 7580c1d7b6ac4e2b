reload_units
if [ "$1" = purge ]; then
	rm -rf /etc/ttydrain /var/lib/ttydrain
fi
