package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/client/clienttest"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
)

// hostile is output that makes a terminal answer, or that changes more of it than the screen.
const hostile = `printf '\033[6n\033[c\033[>c\033]52;c;cm0gLXJm\007\033]2;rm -rf\007\033[21t\033P$qm\033\\\005\033[?1000h\033[?1004h\033[>4;2m'`

// TestReplay records a session with typing errors, a progress bar, runes of several widths, a
// screen program and a window change. From the copy of each drain alone come the bytes, the final
// screen, in the players of ttydrain and of asciinema, and the command that was meant.
func TestReplay(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ssh", "vim.tiny", "tmux", "asciinema"} {
		need(t, name)
	}
	drains := threeDrains(t)
	v := newSite(t, entries(drains)).serve()
	live := []string{"-c", v.site.config, "--admin", v.admin}
	following := startTail(t, append([]string{"tail", "--app", "web"}, live...)...)

	shell := inTerminal(t, v.openssh(v.site.key, "web@127.0.0.1"))
	shell.expect(prompt)
	operation := operationOf(t, shell.shown)
	// Both end with the session.
	ending := startTail(t, append([]string{"tail", "--operation", operation, "--output", "json", "--since", "1h"}, live...)...)
	watching := startTail(t, append([]string{"replay", operation, "--follow", "--raw"}, live...)...)
	word := rand.Text()
	// Backspaces, a deleted word, and inserted letters.
	shell.do("ecoh\x7f\x7fho \"naïve\x17\"correted\x1b[D\x1b[D\x1b[Dc\x05 " + word + "\"")
	shell.do(`for i in 10 50 99 100; do printf '\r\033[32m%3d%%\033[0m' $i; done; echo; echo "naïve — 漢字 — 🙂"`)
	shell.do(hostile)
	shell.press("vim.tiny -u NONE -N poem\r")
	shell.expect("[New]")
	shell.press("i")
	shell.expect("-- INSERT --")
	shell.press("Roses — 漢字\r")
	shell.expect("漢字")
	shell.press("\x1b")
	shell.resize(120, 40)
	shell.expect("\x1b[39;1H~")
	shell.press(":set columns?\r")
	shell.expect("columns=120")
	shell.press(":wq\r")
	shell.expect("\x1b[?1049l")
	shell.expect(prompt)
	shell.press("ls --color=always poem; exit 3\r")
	shown, _ := shell.wait()

	copies := []recordedCopy{{name: "stream", args: live}}
	for _, d := range drains {
		d.awaitEnds(t, operation)
		copies = append(copies, copyOf(t, d, operation))
	}
	screens := newScreens(t, 120, 40)
	screens.show("original", "stty -echo; cat original", func(dir string) { v.site.write(filepath.Join(dir, "original"), string(shown)) })
	var casts [][]byte
	for _, c := range copies {
		mustBe(t, c.name, "what replay writes", []byte(c.run(t, 0, "replay", operation, "--raw").stdout), shown)
		if text := c.run(t, 0, "export", operation, "--output", "text").stdout; !strings.Contains(text, `echo "corrected `+word+`"`) {
			t.Errorf("copy %s: the text does not have the command as it was meant:\n%s", c.name, text)
		}
		cast := c.run(t, 0, "export", operation).stdout
		casts = append(casts, []byte(cast))
		again := recordedCopy{name: c.name + ", exported", args: []string{"--from", filepath.Join(t.TempDir(), "exported")}}
		v.site.write(again.args[1], c.run(t, 0, "export", operation, "--output", "ndjson").stdout)
		mustBe(t, again.name, "what replay writes", []byte(again.run(t, 0, "replay", operation, "--raw").stdout), shown)
		screens.show(c.name, c.command(t, "replay", operation, "--speed", "1000", "--idle-limit", "1ms"), nil)
		screens.show("asciinema's of "+c.name, "asciinema play -s 1000 -i 0.001 cast", func(dir string) { v.site.write(filepath.Join(dir, "cast"), cast) })
	}
	screens.mustBeAlike()
	for i := range casts {
		mustBeCast(t, copies[i].name, casts[i], casts[0])
	}
	for _, d := range drains {
		if d.name == "search" {
			node, stream := nodes.Node(t, estest.Options{Security: true}), streamOf(t, d)
			found := node.Search(t, stream, map[string]any{"match_phrase": map[string]any{"text": "echo \"corrected " + word + "\""}})
			if len(found) == 0 {
				t.Error("a search in Elasticsearch does not find the command as it was meant")
			}
		}
	}

	if got := following.said(t, "session ended: exit, status 3"); !strings.Contains(got, " "+operation+" Ada Lovelace@web  "+prompt+`echo "corrected `+word) {
		t.Errorf("tail did not tell who did what:\n%s", got)
	}
	following.stop(t, 0)
	if lines := strings.Split(strings.TrimSpace(ending.ended(t)), "\n"); !strings.Contains(lines[0], `"event":"start"`) || !strings.Contains(lines[len(lines)-1], `"exit_status":3`) {
		t.Errorf("tail --operation: %q … %q", lines[0], lines[len(lines)-1])
	}
	mustBe(t, "stream", "what replay follows", []byte(watching.ended(t)), shown)
	if last := copies[0].run(t, 0, "tail", "--no-follow", "-n", "1"); strings.Count(last.stdout, "\n") != 1 || !strings.Contains(last.stdout, "[session ended") || last.stderr != "" {
		t.Errorf("the last line: %+v", last)
	}
	if past := copies[0].run(t, 0, "tail", "--until", "1h"); past.stdout != "" || past.stderr != "" {
		t.Errorf("the output until an hour ago: %+v", past)
	}
	if all := copies[0].run(t, 0, "tail", "--until", "0s"); !strings.Contains(all.stdout, "[session ended") {
		t.Errorf("the output until now: %+v", all)
	}
	for _, c := range copies { // the session began before and after these times
		for _, outside := range [][]string{{"--until", "1h"}, {"--since", "0s"}} {
			c.run(t, 1, append([]string{"replay", operation}, outside...)...)
		}
		c.run(t, 0, "replay", operation, "--since", "1h", "--until", "0s")
	}
	if none := copies[0].run(t, 1, "replay", "4711"); !strings.Contains(none.stderr, "session 4711 was not found") {
		t.Errorf("a session that is not there: %+v", none)
	}
	replayKeys(t, copies[1], operation)
}

// mustBeCast compares an asciicast's events with another's. The header has the user, which not
// every copy has, and the times of syslog end at the microsecond.
func mustBeCast(t testing.TB, name string, got, want []byte) {
	t.Helper()
	a, b := castEvents(t, got), castEvents(t, want)
	if len(a) != len(b) {
		t.Fatalf("copy %s: the asciicast has %d events, and that of the stream %d", name, len(a), len(b))
	}
	for i := range a {
		if math.Abs(a[i][0].(float64)-b[i][0].(float64)) > 3e-6 || a[i][1] != b[i][1] || a[i][2] != b[i][2] {
			t.Fatalf("copy %s: the asciicast's event %d is %q, and that of the stream %q", name, i+1, a[i], b[i])
		}
	}
}

func castEvents(t testing.TB, cast []byte) (events [][3]any) {
	t.Helper()
	for line := range bytes.Lines(cast) {
		var event [3]any
		if line[0] != '[' {
			continue
		}
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		events = append(events, event)
	}
	return events
}

// A recordedCopy is a copy in the arguments of commands that read one.
type recordedCopy struct {
	name string
	args []string
	env  []string
}

func (c *recordedCopy) run(t testing.TB, status int, args ...string) result {
	t.Helper()
	cmd := exec.Command(program(t), append(args, c.args...)...)
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), c.env...)
	r := runTo(t, cmd)
	if r.status != status {
		t.Fatalf("copy %s: %v: exit status %d: %s", c.name, args, r.status, r.stderr)
	}
	return r
}

// command returns a command line for a shell.
func (c *recordedCopy) command(t testing.TB, args ...string) string {
	line := "env GORACE=atexit_sleep_ms=0"
	for _, arg := range append(append(append([]string(nil), c.env...), program(t)), append(args, c.args...)...) {
		line += " '" + arg + "'"
	}
	return line
}

// copyOf returns the copy of a drain: files with the records of its receiver, or the search itself.
func copyOf(t testing.TB, d *destination, operation string) recordedCopy {
	t.Helper()
	if d.name == "search" {
		node, stream := nodes.Node(t, estest.Options{Security: true}), streamOf(t, d)
		key := node.APIKeyWith(t, map[string]any{"index": []any{map[string]any{"names": []string{stream}, "privileges": []string{"read"}}}})
		return recordedCopy{name: d.name, args: []string{"--from", node.URL + "/" + stream}, env: []string{"ELASTICSEARCH_API_KEY=" + key}}
	}
	d.transcript(t, operation) // the server has written all of it
	var all bytes.Buffer
	records := d.arrived(t, 0)
	for _, r := range slices.Backward(slices.Concat(records, records)) { // out of order, and with repeats
		fmt.Fprintln(&all, strings.TrimSuffix(r.Whole, "\n"))
	}
	file := filepath.Join(t.TempDir(), d.name)
	if err := os.WriteFile(file, all.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return recordedCopy{name: d.name, args: []string{"--from", file}}
}

// streamOf returns the data stream of an Elasticsearch drain.
func streamOf(t testing.TB, d *destination) string {
	t.Helper()
	found := regexp.MustCompile(`data_stream: ([^,]+),`).FindStringSubmatch(d.entry)
	if found == nil {
		t.Fatalf("no data stream in %s", d.entry)
	}
	return found[1]
}

// A background is a ttydrain that runs in the background.
type background struct {
	cmd            *exec.Cmd
	stdout, stderr output
	done           chan struct{}
}

func startTail(t testing.TB, args ...string) *background {
	t.Helper()
	b := &background{cmd: exec.Command(program(t), args...), done: make(chan struct{})}
	b.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	b.cmd.Stdout, b.cmd.Stderr = &b.stdout, &b.stderr
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process, which the cleanup ends
		defer close(b.done)
		b.cmd.Wait()
	}()
	t.Cleanup(func() {
		b.cmd.Process.Kill()
		<-b.done
	})
	return b
}

// said waits until it has printed a text, and returns everything that it has printed.
func (b *background) said(t testing.TB, text string) string {
	t.Helper()
	await(t, "for "+text, func() bool { return strings.Contains(b.stdout.String(), text) })
	return b.stdout.String()
}

// ended waits until it ends by itself, and returns what it printed.
func (b *background) ended(t testing.TB) string {
	t.Helper()
	await(t, "for the end of "+b.cmd.Args[1], func() bool {
		select {
		case <-b.done:
			return true
		default:
			return false
		}
	})
	if status := b.cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("%v ended with %d: %s", b.cmd.Args, status, b.stderr.String())
	}
	return b.stdout.String()
}

func (b *background) stop(t testing.TB, status int) {
	t.Helper()
	b.cmd.Process.Signal(syscall.SIGINT)
	b.ended(t)
}

// screens are windows of a real terminal emulator, tmux, each with a program in it.
type screens struct {
	t      testing.TB
	socket string
	width  int
	height int
	names  []string
}

func newScreens(t testing.TB, width, height int) *screens {
	s := &screens{t: t, socket: filepath.Join(t.TempDir(), "tmux"), width: width, height: height}
	t.Cleanup(func() { exec.Command("tmux", "-S", s.socket, "kill-server").Run() }) // it may not have started
	return s
}

func (s *screens) tmux(args ...string) string {
	s.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", s.socket, "-f", "/dev/null", "-u"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + filepath.Dir(s.socket)}
	r := runTo(s.t, cmd)
	if r.status != 0 {
		s.t.Fatalf("tmux %v: %s", args, r.stderr)
	}
	return r.stdout
}

// show runs a command line in a window of its own. When it has ended, the input that the terminal
// has sent it, and a line that is typed, are kept.
func (s *screens) show(name, command string, prepare func(dir string)) {
	s.t.Helper()
	dir := s.t.TempDir()
	if prepare != nil {
		prepare(dir)
	}
	number := len(s.names)
	s.names = append(s.names, name)
	script := fmt.Sprintf("cd '%s'; %s 2>said; echo $? >status; stty -echo; tmux wait-for -S shown-%d; IFS= read -r line; printf %%s \"$line\" >typed; tmux wait-for -S typed-%d; sleep 1000",
		dir, command, number, number)
	if number == 0 {
		s.tmux("new-session", "-d", "-s", "screens", "-x", fmt.Sprint(s.width), "-y", fmt.Sprint(s.height), "exec sh -c "+quoted(script))
	} else {
		s.tmux("new-window", "-d", "-t", "screens:"+fmt.Sprint(number), "exec sh -c "+quoted(script))
	}
	s.names[number] = name + "\x00" + dir
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// mustBeAlike compares all windows with the first: the final screens and the cursors.
func (s *screens) mustBeAlike() {
	s.t.Helper()
	want := ""
	for number, named := range s.names {
		name, dir, _ := strings.Cut(named, "\x00")
		window := fmt.Sprintf("screens:%d", number)
		s.tmux("wait-for", fmt.Sprintf("shown-%d", number))
		got := s.tmux("display-message", "-p", "-t", window, "#{cursor_x},#{cursor_y} of #{window_width} by #{window_height}") + s.tmux("capture-pane", "-p", "-e", "-t", window)
		said, _ := os.ReadFile(filepath.Join(dir, "said"))
		if status, err := os.ReadFile(filepath.Join(dir, "status")); err != nil || string(status) != "0\n" {
			s.t.Errorf("screen %s: status %q, %v: %s", name, status, err, said)
		}
		switch {
		case number == 0:
			if want = got; !strings.Contains(want, "100%") || !strings.Contains(want, "漢字") {
				s.t.Errorf("the original's screen does not show the session:\n%s", want)
			}
		case got != want:
			s.t.Errorf("screen %s shows in the end\n%s\nand the original\n%s\nIt said: %s", name, got, want, said)
		}
		if strings.Contains(name, "asciinema") || number == 0 {
			continue
		}
		s.tmux("send-keys", "-t", window, "typed", "Enter")
		s.tmux("wait-for", fmt.Sprintf("typed-%d", number))
		if typed, err := os.ReadFile(filepath.Join(dir, "typed")); err != nil || string(typed) != "typed" {
			s.t.Errorf("screen %s: the shell behind the player got %q, %v", name, typed, err)
		}
	}
}

// replayKeys plays a session so slowly that nothing happens but by keys.
func replayKeys(t *testing.T, c recordedCopy, operation string) {
	t.Helper()
	play := func(args ...string) *clienttest.Screen {
		cmd := exec.Command(program(t), append(append([]string{"replay", operation, "--speed", "0.016"}, c.args...), args...)...)
		cmd.Env = append(append(os.Environ(), "TERM=xterm-256color", "GORACE=atexit_sleep_ms=0"), c.env...)
		return clienttest.OnScreen(t, cmd)
	}
	s := play()
	before := s.Before
	s.Await("enlarge it") // 80 by 24 is too small
	if reflect.DeepEqual(before, s.Modes()) {
		t.Error("the terminal is not raw")
	}
	s.Resize(120, 40)
	s.Await(": playing at 0s of ")
	s.Type(" ")
	s.Await("paused at 0s")
	s.Type("+")
	s.Await("speed 0.032")
	s.Type("...")
	s.Await("ttydrain: operation " + operation)
	s.Resize(90, 30)
	s.Await("in a terminal of 100 by 30")
	s.Type("9")
	s.Await("漢字")
	s.Type("\x1b[H")
	s.Type("q")
	if status := s.Status(); status != 0 {
		t.Errorf("q: status %d", status)
	}
	if !reflect.DeepEqual(before, s.Modes()) {
		t.Error("q: the terminal's modes are not what they were")
	}
	if text := s.Text(); strings.Contains(text, "\x1b[6n") || strings.Contains(text, "\x1b]2;rm -rf") || !strings.Contains(text, "\x1b[23;2t") {
		t.Errorf("what is harmful passed, or the title did not come back: %q", text)
	}
	s = play("--start", "1h")
	s.Resize(120, 40)
	s.Await("session ended: exit, status 3")
	if status := s.Status(); status != 0 {
		t.Errorf("the end: status %d", status)
	}
	s = play()
	s.Resize(120, 40)
	s.Await(": playing at 0s of ")
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := s.Status(); status != 1 {
		t.Errorf("SIGTERM: status %d", status)
	}
	if !reflect.DeepEqual(before, s.Modes()) {
		t.Error("SIGTERM: the terminal's modes are not what they were")
	}
}
