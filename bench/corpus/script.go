package corpus

// A typed is text that the user types, and the output that they then wait for.
type typed struct {
	text string
	// until is the output that the terminal must show before the user goes on; "" for the shell's
	// prompt, painted or watching.
	until string
}

// painted waits until a full-screen program has shown no output for half a second.
const painted = "(painted)"

// watching waits for some seconds.
const watching = "(watching)"

// prompt is the end of the prompt of recordings/bashrc.
const prompt = "\x1b[00m$ "

// Keys.
const (
	enter, tab, escape, interrupt = "\r", "\t", "\x1b", "\x03"
	up, down, right               = "\x1b[A", "\x1b[B", "\x1b[C"
	ctrlA, ctrlR, ctrlX, quit     = "\x01", "\x12", "\x18", "q"
)

// scripts are the sessions to record, by the name of the recording. Each starts with a shell in
// /app/shop, which exits at the end.
var scripts = map[string][]typed{
	"shell": {
		{"cd ../sh" + tab + enter, ""}, {"git status" + enter, ""}, {"ls" + enter, ""}, {"ll conf" + tab + enter, ""},
		{"echo $HOME; id; uptime -p" + enter, ""}, {up + up + up + enter, ""}, {"head -n 5 db/se" + tab + enter, ""},
		{"grep -n TODO src/*.rb | head" + enter, ""}, {ctrlR + "grep", "reverse"}, {ctrlA, ""}, {interrupt, ""},
		{"for f in src/*.rb; do wc -l $f; done | sort -n | tail -n 12" + enter, ""}, {"df -h /app" + enter, ""},
		{"export RAILS_ENV=production" + enter, ""}, {"env | sort | head -n 20" + enter, ""},
		{"printf 'Enter a name: '; read name; echo \"Grüße, $name — 日本語 ✓\"" + enter, "name: "}, {"Zoë" + enter, ""},
		{"cat config/acc" + tab + enter, ""}, {"sleep 1; echo done" + enter, ""}, {"nosuchcommand --help" + enter, ""},
	},
	"list": {
		{"ls -l --color" + enter, ""}, {"ll src" + enter, ""}, {"ll -h public/assets" + enter, ""}, {"ls -la --color /usr/lib/x86_64-linux-gnu | head -n 600" + enter, ""},
		{"ls /usr/lib/x86_64-linux-gnu | head -n 400 | column -c 118" + enter, ""}, {"find . -name '*.rb' | sort" + enter, ""},
		{"ls -lR --color log src config | tail -n 80" + enter, ""}, {"du -ah src | sort -h | tail -n 40" + enter, ""},
	},
	"logs": {
		{"tail -n 200 log/prod" + tab + enter, ""}, {"tail -n 30 log/access.log" + enter, ""}, {"grep --color=always ERROR log/production.log | tail -n 60" + enter, ""},
		{"(for i in 1 2 3 4 5 6; do sleep 0.7; tail -n 4 log/access.log >> log/production.log; done) &" + enter, ""},
		{"tail -n 20 -f log/production.log" + enter, watching}, {"", watching}, {interrupt, ""},
		{"cat log/production.log | head -n 3500" + enter, ""}, {"awk '/WARN/ {print $1, $NF}' log/production.log | sort | uniq -c | sort -rn | head -n 40" + enter, ""},
		{"tail -n 1200 log/production.log" + enter, ""}, {"cat log/access.log" + enter, ""},
	},
	"sql": {
		{"sqlite3 db/shop.db" + enter, "sqlite> "}, {".mode box" + enter, "sqlite> "}, {".tables" + enter, "sqlite> "}, {".schema customers" + enter, "sqlite> "},
		{"select * from customers limit 200;" + enter, "sqlite> "},
		{"select c.name, count(*) as orders, round(sum(o.price * o.quantity), 2) as total from customers c" + enter, "...> "},
		{"join orders o on o.customer_id = c.id group by c.name order by total desc;" + enter, "sqlite> "},
		{"select * from orders where price > 350 order by placed_at limit 250;" + enter, "sqlite> "}, {"selct 1;" + enter, "sqlite> "},
		{".mode column" + enter, "sqlite> "}, {"select id, email, balance from customers where balance < 1500;" + enter, "sqlite> "},
		{".mode csv" + enter, "sqlite> "}, {"select * from orders limit 1200;" + enter, "sqlite> "}, {".quit" + enter, ""},
	},
	"vim": {
		{"vim src/price.yml" + enter, painted}, {"jjjA  # since March" + escape, painted}, {"o  - {name: autumn, percent: 12}" + escape, painted},
		{"yyppkcwwinter" + escape, painted}, {":%s/percent/per_cent/g" + enter, painted}, {"u", painted}, {"ggVG>", painted}, {"uG", painted},
		{":w" + enter, painted}, {":e log/production.log" + enter, painted}, {"\x06\x06\x06", painted}, {"/ERROR" + enter, painted}, {"nnn", painted},
		{":syntax on" + enter, painted}, {":e config/basket.yml" + enter, painted}, {":q!" + enter, ""}, {"cat src/price.yml" + enter, ""},
	},
	"nano": {
		{"nano config/notes.txt" + enter, painted}, {"Deployment of Monday:" + enter + "- restart the queue" + enter + "- look at the mailer's log for an hour", painted},
		{up + up + right + right, painted}, {"\x17queue" + enter, painted}, {ctrlX, painted}, {"y", painted}, {enter, ""}, {"cat config/notes.txt" + enter, ""},
	},
	"less": {
		{"less log/production.log" + enter, painted}, {" ", painted}, {" ", painted}, {"ffff", painted}, {"jjjjj", painted},
		{"/WARN" + enter, painted}, {"nn", painted}, {"G", painted}, {"bb", painted}, {quit, ""}, {"less -R src/price.yml" + enter, painted}, {quit, ""},
	},
	"git": {
		{"git log --oneline --graph | cat" + enter, ""}, {"git log -n 30 --stat --color" + enter, painted}, {"  ", painted}, {quit, ""},
		{"git --no-pager log -n 60 -p --color" + enter, ""}, {"git --no-pager diff --stat HEAD~20" + enter, ""}, {"git --no-pager show --color HEAD~3" + enter, ""},
		{"git --no-pager blame config/basket.yml" + enter, ""}, {"git --no-pager log --format='%C(yellow)%h %C(cyan)%an%Creset %s' -n 120" + enter, ""}, {"git --no-pager branch -a; git status -s" + enter, ""},
	},
	"build": {
		{"cd /app/web" + enter, ""}, {"make" + enter, ""}, {"make clean" + enter, ""}, {"npm run build" + enter, ""}, {"npm test" + enter, ""},
		{"cd ../calc" + enter, ""}, {"go vet ./..." + enter, ""}, {"go test -v ./..." + enter, ""}, {"go test ./..." + enter, ""},
	},
	"progress": {
		{"python3 -m http.server --bind 127.0.0.1 --directory /app/tmp 28080 &> /dev/null &" + enter, ""}, {"cd /app/tmp" + enter, ""},
		{"curl -o /dev/null http://127.0.0.1:28080/release-1.4.tar" + enter, ""}, {"curl -# -o /dev/null http://127.0.0.1:28080/release-1.4.tar" + enter, ""},
		{"kill %1" + enter, ""},
		{"git clone --progress file:///app/shop /app/tmp/shop" + enter, ""}, {"dd if=/dev/zero of=/dev/null bs=512 count=9000000 status=progress" + enter, ""},
		{"apt-get update" + enter, ""}, {"apt-get download hello tree" + enter, ""}, {"ls -l --color" + enter, ""},
	},
	"top": {
		{"top -d 1" + enter, watching}, {"M", watching}, {"1", watching}, {quit, ""}, {"top -b -n 3 | head -n 60" + enter, ""}, {"free -h" + enter, ""},
	},
	"htop": {
		{"htop -d 10" + enter, watching}, {down + down, watching}, {"t", watching}, {quit, ""}, {"ps -ef --forest" + enter, ""},
	},
}
