package enrich

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/ttydrain/ttydrain/schema"
)

// need fails or skips a test whose program is not installed.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
		t.Fatalf("NOT TESTED: %s is not installed, and TTYDRAIN_REQUIRE_SERVERS=1 requires it", program)
	}
	t.Skipf("SKIPPED, NOT TESTED: %s is not installed", program)
}

// A shown is the output that a terminal received at one time.
type shown struct {
	at    time.Duration
	bytes []byte
}

// A key is the input that a user types after the terminal has shown a text. At each pause in it,
// the user looks at the screen for a while.
type key struct{ after, typed string }

const pause = "\x00"

// play runs a program on a real terminal, types, and returns the output.
func play(t *testing.T, width, height int, dir string, keys []key, program string, args ...string) (all []shown) {
	t.Helper()
	need(t, program)
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"TERM=xterm-256color", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH"), "HOME=" + dir, "PS1=<\\#> ", "INPUTRC=/dev/null", "HISTFILE="}
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	slow := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer slow.Stop()
	start := time.Now()
	var seen []byte
	buffer := make([]byte, 4096)
	for {
		for len(keys) > 0 && bytes.Contains(seen, []byte(keys[0].after)) {
			seen = seen[bytes.Index(seen, []byte(keys[0].after))+len(keys[0].after):]
			for i, typed := range strings.Split(keys[0].typed, pause) {
				if i > 0 {
					time.Sleep(standing + 100*time.Millisecond)
				}
				if _, err := f.WriteString(typed); err != nil {
					t.Fatal(err)
				}
			}
			keys = keys[1:]
		}
		n, err := f.Read(buffer)
		if n > 0 {
			all = append(all, shown{time.Since(start), bytes.Clone(buffer[:n])})
			seen = append(seen, buffer[:n]...)
		}
		if err != nil { // EIO: the program has ended
			break
		}
	}
	cmd.Wait()
	if len(keys) > 0 {
		t.Fatalf("it never showed %q; the rest is %q", keys[0].after, seen)
	}
	return all
}

// textsOf returns the records of the output, each in a segment after which the session continues as
// after a restart.
func textsOf(t *testing.T, width, height int, all []shown) (records []schema.Record) {
	t.Helper()
	k := testKey(t)
	op := testOperation(t, k)
	op.Interactive, op.Width, op.Height = true, width, height
	tr, err := New(op, k, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := script{t: t, tr: tr}
	for _, shown := range all {
		s.at = shown.at
		s.show(schema.FrameStdout, string(shown.bytes))
		more, last := take(t, s.tr, &s.d)
		records = append(records, more...)
		if last != nil && !s.tr.hasPending() {
			if s.tr, err = Resume(last, k, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.end()
	records = append(records, s.take()...)
	checkRecords(t, records)
	return records
}

// TestTypedCommands: a command typed into a real shell is in the text of one record, whatever keys
// were used for it.
func TestTypedCommands(t *testing.T) {
	const (
		home, end, right, left, up, back = "\x01", "\x05", "\x1b[C", "\x1b[D", "\x1b[A", "\x7f"
		killLine, killWord, killRest     = "\x15", "\x17", "\x0b"
		search, yank, transpose, clear   = "\x12", "\x19", "\x14", "\x0c"
	)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "unmistakable.txt"), []byte("content\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := func(s string, n int) string { return strings.Repeat(s, n) }
	commands := []struct{ typed, want string }{
		{"ecoh wrold" + n(back, 4) + "orld" + home + n(right, 2) + "\x04" + right + "o" + end + "!", "echo world!"},
		{"echo one two" + killWord + "three" + home + "A=1 " + end + " four", "A=1 echo one three four"},
		{"garbage" + killLine + "true", "true"},
		{"true everything behind" + n(left, 18) + killRest + " kept", "true kept"},
		{"echo moved" + killWord + "first " + yank, "echo first moved"},
		{"echo ab" + left + transpose + end + "x", "echo bax"}, // Ctrl-T: the two runes before the cursor
		{"cat unm\t", "cat unmistakable.txt "},
		{up + up + up + up + home + n(right, 4) + " -n", "true -n kept"},
		{search + "first", "echo first moved"},
		{"echo größe 日本語 äöü" + n(back, 3) + "ok" + n(left, 4) + back + "語!", "echo größe 日語!語 ok"},
		// Beyond the edge of the window, of 40 columns, and back.
		{"echo " + n("0123456789", 9) + n(left, 80) + "INSERTED" + home + n(right, 5) + n("\x04", 5) + end + n(back, 25) + "END",
			"echo 56789INSERTED" + "01234567890123456789012345678901234567890123456789" + "01234" + "END"},
		{up + home + "true " + n(right, 45) + n("\x04", 20) + end + "!", "true echo 56789INSERTED" + "01234567890123456789012345678901" + "234" + "END!"},
		{"echo cle" + clear + "ared", "echo cleared"},
		{"exit", "exit"},
	}
	var keys []key
	for i, c := range commands {
		keys = append(keys, key{fmt.Sprintf("<%d> ", i+1), c.typed + "\r"})
	}
	records := textsOf(t, 40, 10, play(t, 40, 10, dir, keys, "bash", "--norc", "--noprofile", "+H", "-i"))
	for i, c := range commands {
		want := fmt.Sprintf("<%d> %s", i+1, c.want)
		found := 0
		var near []string
		for _, r := range records {
			for line := range strings.SplitSeq(string(r.Text), lineSeparator) {
				if line == want {
					found++
				} else if strings.Contains(line, fmt.Sprintf("<%d> ", i+1)) {
					near = append(near, line)
				}
			}
		}
		if found != 1 {
			t.Errorf("%q is in %d records; others are %q", want, found, near)
		}
	}
}

// load reads a recording: asciicast v2, a header and a line for each event.
func load(t testing.TB, file string) (width, height int, all []shown) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var header struct{ Width, Height int }
	in := json.NewDecoder(bufio.NewReader(f))
	if err := in.Decode(&header); err != nil {
		t.Fatal(err)
	}
	for {
		var event [3]any
		if err := in.Decode(&event); errors.Is(err, io.EOF) {
			return header.Width, header.Height, all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, shown{time.Duration(event[0].(float64) * float64(time.Second)), []byte(event[2].(string))})
	}
}

// TestRecordings: the texts of real sessions equal the reviewed ones. The files NAME.cast were
// recorded once, of vim (adding and moving a line, finding and changing a word, and replacing all
// occurrences), less (paging and searching) and programs that redraw rows. NAME.v2.txt has their
// texts. NAME.txt has those of the first version, which did not contain text that is gone at a
// record's end: all of them are still contained, each at the end of its record's text.
func TestRecordings(t *testing.T) {
	casts, err := filepath.Glob(filepath.Join("testdata", "terminal", "*.cast"))
	if err != nil || len(casts) < 3 {
		t.Fatalf("%d recordings: %v", len(casts), err)
	}
	for _, cast := range casts {
		t.Run(filepath.Base(cast), func(t *testing.T) {
			width, height, all := load(t, cast)
			var got bytes.Buffer
			records := textsOf(t, width, height, all)
			for _, r := range records {
				fmt.Fprintf(&got, "%s\n", r.Text)
			}
			golden := strings.TrimSuffix(cast, ".cast") + ".v2.txt"
			first, err := os.ReadFile(strings.TrimSuffix(cast, ".cast") + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			for i, line := range strings.Split(strings.TrimSuffix(string(first), "\n"), "\n") {
				if i >= len(records) || !strings.HasSuffix(withoutMarks(string(records[i].Text)), line) {
					t.Fatalf("record %d had the text %q", i+1, line)
				}
			}
			want, err := os.ReadFile(golden)
			if errors.Is(err, fs.ErrNotExist) && *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\nrun go test ./enrich -update to create golden files that are missing", err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("reads\n%s\nexpected\n%s", got.Bytes(), want)
			}
		})
	}
}

// withoutMarks returns a text without the lines that are gone at its record's end.
func withoutMarks(text string) string {
	lines := strings.Split(text, lineSeparator)
	return strings.Join(slices.DeleteFunc(lines, func(s string) bool { return strings.HasPrefix(s, erasedMark) }), lineSeparator)
}

// TestTerminalMatchesTmux: a widely used terminal emulator has the same screen after real sessions
// and after difficult bytes. The latter exclude those that tmux interprets differently: CHT, HPR
// and VPR, a backspace at the last column, and half an erased wide rune.
func TestTerminalMatchesTmux(t *testing.T) {
	need(t, "tmux")
	dir := t.TempDir()
	tmux := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("tmux", append([]string{"-S", filepath.Join(dir, "socket"), "-f", "/dev/null"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	type sample struct {
		name          string
		width, height int
		output        []byte
	}
	var samples []sample
	casts, _ := filepath.Glob(filepath.Join("testdata", "terminal", "*.cast"))
	for _, cast := range casts {
		width, height, all := load(t, cast)
		var output []byte
		for i, s := range all {
			output = append(output, s.bytes...)
			if i%4 == 3 || i == len(all)-1 {
				samples = append(samples, sample{fmt.Sprintf("%s up to event %d", cast, i), width, height, bytes.Clone(output)})
			}
		}
	}
	for i, s := range []string{
		"\x1bktitle\x1b\\🇩🇪|🇫🇷\x1b[1;12H!", "a\x1b]2;two\nlines\x1b\\b\x1bPq\n#0~\n\x1b\\c\x1b_x\n\x1b\\d",
		"日本語\b\b\bx\x1b[2D\x1b[K日", strings.Repeat("0123456789", 7) + "\rab\x1b[2@\x1b[5C\x1b[3P\x1b[A\x1b[4Xz",
		"top\x1b[2;4r\x1b[4;1Ha\nb\nc\x1b[2;1H\x1bMtop\x1b[L\x1b[3;3Hx\x1b[M", "one\x1b7\x1b[5;5Htwo\x1b8!\x1b[3g\x1b[?7l" + strings.Repeat("w", 50) + "\x1b[?7h",
		strings.Repeat("row\r\n", 30) + "\x1b[3S\x1b[2T\x1b[1J\x1b[3;5Hx\x1b[0J", "\x1b[4habc\x1b[2Dnew\x1b[4l\x1b[10G-\x1b[7b\x1b[1K.", "a\tb|\x1b[Z#\x1b[3d@\x1b[2B\x1b[4C=\x1b[E+\x1b[F-",
		strings.Repeat("x", 29) + "日本\b\b\b\by", "e\u0301cafe\u0301\b\b\x1b[1@-", "\x1b[2;5r\x1b[?6h\x1b[1;1Hin\x1b[9;1Hend\x1b[?6l\x1b[1;20Hout",
		strings.Repeat("y", 30) + "\rz\x1b[30Gz\r\n" + strings.Repeat("y", 30) + "\x1b[30G?!", "\x1b[?1049halt\x1b[?1049l\x1b[?1049h\x1b[5;5Hagain",
	} {
		samples = append(samples, sample{fmt.Sprintf("%d", i), 30, 6, []byte(s)})
	}
	for i, s := range samples {
		file := filepath.Join(dir, fmt.Sprint(i))
		// Replies to queries of the terminal would be typed into the shell. The title signals the end of
		// the output.
		if err := os.WriteFile(file, fmt.Appendf(s.output, "\x1b]2;shown %d\x1b\\", i), 0o600); err != nil {
			t.Fatal(err)
		}
		show := fmt.Sprintf("stty raw -echo; cat %s; exec sleep 1000", file)
		name := fmt.Sprint("s", i)
		tmux("new-session", "-d", "-s", name, "-x", fmt.Sprint(s.width), "-y", fmt.Sprint(s.height), show, ";", "set", "-g", "status", "off", ";", "resize-window", "-t", name, "-x", fmt.Sprint(s.width), "-y", fmt.Sprint(s.height))
	}
	defer tmux("kill-server")
	deadline := time.Now().Add(time.Minute)
	for i, s := range samples {
		pane := fmt.Sprintf("s%d:", i)
		for tmux("display-message", "-p", "-t", pane, "#{pane_title}") != fmt.Sprintf("shown %d\n", i) {
			if time.Now().After(deadline) {
				t.Fatalf("tmux does not show %s", s.name)
			}
		}
		var want []string
		for line := range strings.SplitSeq(strings.TrimSuffix(tmux("capture-pane", "-p", "-t", pane), "\n"), "\n") {
			want = append(want, strings.TrimRight(line, " "))
		}
		terminal := newTerminal(s.width, s.height)
		terminal.reset(0) // tmux starts at the top
		var l line
		show := func(_ *line, p piece) {
			terminal.open = p.open
			terminal.feed(p.log, p.state)
			terminal.collect()
		}
		l.add(s.output, 0, t0, show)
		l.end(t0, show)
		var got []string
		for i := range terminal.active().rows {
			row := &terminal.active().rows[i]
			for j := range row.cells {
				if row.cells[j].rune == tabFill {
					row.cells[j].rune = blank
				}
			}
			got = append(got, string(bytes.TrimRight(row.appendText(nil, &terminal.marks), " ")))
		}
		if g, w := strings.TrimRight(strings.Join(got, "\n"), "\n"), strings.TrimRight(strings.Join(want, "\n"), "\n"); g != w {
			t.Errorf("%s %q: shows\n%s\ntmux shows\n%s", s.name, s.output[max(0, len(s.output)-100):], g, w)
		}
	}
}
