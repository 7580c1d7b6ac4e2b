# Functions of all maintainer scripts, which begin with this file.
set -e
create_user() {
	getent group ttydrain >/dev/null || groupadd --system ttydrain
	getent passwd ttydrain >/dev/null || useradd --system --gid ttydrain --home-dir /var/lib/ttydrain \
		--no-create-home --shell /usr/sbin/nologin --comment 'ttydrain session recorder' ttydrain
}
running() { [ -d /run/systemd/system ]; }
reload_units() {
	if running; then systemctl daemon-reload; fi
}
# Running services get the new program. Their sessions end with a message; what they showed is in the store.
restart_units() {
	reload_units
	if running; then systemctl try-restart ttydrain.service 'ttydrain@*.service'; fi
}
stop_units() {
	if running; then
		systemctl disable --now ttydrain.service 2>/dev/null || :
		systemctl stop 'ttydrain@*.service'
	fi
}
explain() {
	echo 'ttydrain is installed and not started. Next:'
	echo '  edit /etc/ttydrain/ttydrain.yaml'
	echo '  ttydrain check -c /etc/ttydrain/ttydrain.yaml --connect'
	echo '  systemctl enable --now ttydrain'
}
