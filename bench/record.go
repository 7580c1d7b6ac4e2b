package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// The terminal of every recording.
const (
	recordedWidth  = 120
	recordedHeight = 40
)

// A typed is what a person types in one go, and what they then wait for.
type typed struct {
	text string
	// until is what the terminal has to show before they go on; "" for the shell's prompt. A program
	// that takes the whole screen is waited for by that and by half a second of quiet; watching waits
	// for nothing.
	until string
}

// painted is for a program that draws: until it has done so.
const painted = "(painted)"

// watching is for a person who looks at what goes on for some seconds.
const watching = "(watching)"

// prompt is how the prompt of recordings/bashrc ends.
const prompt = "\x1b[00m$ "

// Keys.
const (
	enter, tab, escape, interrupt = "\r", "\t", "\x1b", "\x03"
	up, down, right               = "\x1b[A", "\x1b[B", "\x1b[C"
	ctrlA, ctrlR, ctrlX, quit     = "\x01", "\x12", "\x18", "q"
)

// recordings are what is recorded, by the name of its file. Each begins at a shell in /app/shop and
// leaves it.
var recordings = map[string][]typed{
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

// record makes all recordings again, into a folder. Only root can: they are of a made-up person on
// a machine of their own.
func record(dir string) error {
	script, err := recorded.ReadFile("recordings/furnish.sh")
	if err != nil {
		return err
	}
	rc, err := recorded.ReadFile("recordings/bashrc")
	if err != nil {
		return err
	}
	var (
		all    sync.WaitGroup
		failed = make(chan error, len(recordings))
	)
	for name, keys := range recordings {
		all.Go(func() {
			if err := recordOne(filepath.Join(dir, name+".cast"), name, keys, script, rc); err != nil {
				failed <- fmt.Errorf("record %s: %w", name, err)
			}
		})
	}
	all.Wait()
	close(failed)
	var errs []error
	for err := range failed {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// recordOne records one session.
func recordOne(file, name string, keys []typed, script, rc []byte) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	setup, err := json.Marshal(recordingSetup{script, rc})
	if err != nil {
		return err
	}
	cmd.Env = []string{childVariable + "=recording"}
	// The setup comes by a pipe of its own: standard input is the terminal.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{r}
	shown, err := pty.StartWithAttrs(cmd, &pty.Winsize{Cols: recordedWidth, Rows: recordedHeight},
		&syscall.SysProcAttr{Setsid: true, Setctty: true, Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC})
	r.Close()
	if err != nil {
		return err
	}
	defer shown.Close()
	go func() { // ends when the child has read it, or has ended
		w.Write(setup)
		w.Close()
	}()

	s := &screen{began: time.Now(), cast: replay.NewAsciicast(&schema.Operation{
		ID: name, App: "web", User: schema.User{Name: "Ada Lovelace"}, Interactive: true, Width: recordedWidth, Height: recordedHeight,
	}, 0)}
	s.out = s.cast.AppendHeader(nil)
	done := make(chan error, 1)
	go func() { done <- s.read(shown) }() // ends with the program
	p := person{rng: rand.New(rand.NewPCG(1, uint64(len(name)))), keyboard: shown}
	err = s.await(prompt)
	for _, k := range append(keys, typed{"exit" + enter, "exit"}) {
		if err != nil {
			break
		}
		s.forget()
		if err = p.types(k.text); err == nil {
			err = s.await(k.until)
		}
	}
	if err != nil {
		cmd.Process.Kill()
	}
	if e := <-done; err == nil {
		err = e
	}
	cmd.Wait() // its status is that of the last command
	if err != nil {
		return err
	}
	return os.WriteFile(file, s.out, 0o644)
}

// A person types as people do: not evenly, and with slips.
type person struct {
	rng      *rand.Rand
	keyboard io.Writer
}

func (p *person) types(text string) error {
	pause := func(least, most int) { time.Sleep(time.Duration(least+p.rng.IntN(most-least)) * time.Millisecond) }
	pause(300, 1500)
	for len(text) > 0 {
		n := 1
		if text[0] == escape[0] && len(text) > 2 && text[1] == '[' { // a key is sent at once
			n = 2 + bytes.IndexFunc([]byte(text[2:]), func(r rune) bool { return r >= '@' }) + 1
		} else if _, size := utf8.DecodeRuneInString(text); size > 1 {
			n = size
		}
		if c := text[0]; c >= 'a' && c <= 'z' && n == 1 && len(text) > 4 && p.rng.IntN(40) == 0 {
			if _, err := p.keyboard.Write([]byte{'a' + byte(p.rng.IntN(26))}); err != nil {
				return err
			}
			pause(150, 500)
			if _, err := p.keyboard.Write([]byte{0x7f}); err != nil {
				return err
			}
			pause(60, 200)
		}
		if _, err := io.WriteString(p.keyboard, text[:n]); err != nil {
			return err
		}
		text = text[n:]
		pause(25, 140)
	}
	return nil
}

// A screen is what a terminal has shown.
type screen struct {
	began time.Time
	cast  *replay.Asciicast

	mu    sync.Mutex // guards what follows
	out   []byte     // the recording
	shown []byte     // since forget
	last  time.Time  // when something was shown last
	ended bool
}

func (s *screen) read(from io.Reader) error {
	defer func() {
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
	}()
	buffer := make([]byte, 32<<10)
	var all []byte
	for {
		n, err := from.Read(buffer)
		s.mu.Lock()
		s.out = s.cast.AppendOutput(s.out, int64(time.Since(s.began)), schema.Stdout, buffer[:n])
		s.shown = append(s.shown, buffer[:n]...)
		s.last = time.Now()
		s.mu.Unlock()
		all = append(all, buffer[:n]...)
		if err != nil { // EIO: the program has ended
			if !utf8.Valid(all) {
				return errors.New("what it showed is not UTF-8, which this form cannot hold exactly")
			}
			return nil
		}
	}
}

func (s *screen) forget() {
	s.mu.Lock()
	s.shown = s.shown[:0]
	s.mu.Unlock()
}

// await waits until something has been shown, and then nothing for a while.
func (s *screen) await(text string) error {
	if text == watching {
		time.Sleep(3 * time.Second)
		return nil
	}
	quiet := 500 * time.Millisecond
	switch text {
	case painted:
		text = ""
	case "":
		text, quiet = prompt, 100*time.Millisecond
	}
	late := time.Now().Add(90 * time.Second)
	for {
		time.Sleep(20 * time.Millisecond)
		s.mu.Lock()
		there := bytes.Contains(s.shown, []byte(text)) && time.Since(s.last) > quiet || s.ended && text == "exit"
		seen, ended := string(s.shown), s.ended
		s.mu.Unlock()
		switch {
		case there:
			return nil
		case ended, time.Now().After(late):
			return fmt.Errorf("the terminal does not show %q but %q", text, seen[max(0, len(seen)-500):])
		}
	}
}

// recordingSetup is what the process of a recording is told.
type recordingSetup struct{ Script, RC []byte }

// recordingMain makes a machine for a made-up person, whose shell it becomes.
func recordingMain() error {
	pipe := os.NewFile(3, "setup")
	var setup recordingSetup
	if err := json.NewDecoder(pipe).Decode(&setup); err != nil {
		return err
	}
	pipe.Close()
	const id = 1000
	if err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""),
		unix.Sethostname([]byte("web-1")),
		os.MkdirAll("/app", 0o755), // it stays on this machine, empty
		unix.Mount("app", "/app", "tmpfs", 0, "mode=755,uid=1000,gid=1000"),
		unix.Mount("tmp", "/tmp", "tmpfs", 0, "mode=1777"),
	); err != nil {
		return fmt.Errorf("make a machine for the recording (as root): %w", err)
	}
	files := map[string]string{
		"/etc/passwd": "root:x:0:0:root:/:/bin/sh\nada:x:1000:1000:Ada Lovelace:/app:/bin/bash\n",
		"/etc/group":  "root:x:0:\nadm:x:4:\nshadow:x:42:\nada:x:1000:\n",
	}
	for file, text := range files {
		made := "/tmp/" + filepath.Base(file)
		if err := errors.Join(os.WriteFile(made, []byte(text), 0o644), unix.Mount(made, file, "", unix.MS_BIND, "")); err != nil {
			return err
		}
	}
	if err := errors.Join(os.WriteFile("/app/.bashrc", setup.RC, 0o644), os.WriteFile("/tmp/furnish.sh", setup.Script, 0o644),
		syscall.Setgroups(nil), syscall.Setresgid(id, id, id), syscall.Setresuid(id, id, id)); err != nil {
		return err
	}
	env := []string{
		"USER=ada", "LOGNAME=ada", "HOME=/app", "TERM=xterm-256color", "LANG=C.UTF-8", "PATH=/usr/local/go/bin:/usr/bin:/bin", "SHELL=/bin/bash", "PAGER=less", "LESS=-R",
		"GOTOOLCHAIN=local", "GOPROXY=off", "GOFLAGS=-buildvcs=false", "NPM_CONFIG_UPDATE_NOTIFIER=false", "APT_CONFIG=/app/.apt.conf",
	}
	furnish := exec.Command("/bin/sh", "/tmp/furnish.sh")
	furnish.Env = env
	if out, err := furnish.CombinedOutput(); err != nil {
		return fmt.Errorf("furnish: %w: %s", err, out)
	}
	if err := os.Chdir("/app/shop"); err != nil {
		return err
	}
	return syscall.Exec("/bin/bash", []string{"bash", "--rcfile", "/app/.bashrc", "-i"}, env)
}
