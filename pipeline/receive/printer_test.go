package receive

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/creack/pty"
)

var update = flag.Bool("update", false, "write the golden files anew")

// samples are received records of every kind.
func samples(t *testing.T) []Received {
	t.Helper()
	at := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	status, failed := 0, 130
	var all []Received
	add := func(r Record) *Received {
		r.OperationID, r.OperationUserName = "7", "Ada Lovelace"
		r.Timestamp = at
		at = at.Add(time.Second)
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Received{Drain: HTTPS, At: at, Record: r, Raw: raw})
		return &all[len(all)-1]
	}
	add(Record{Event: "start", Text: "session started: ls --color"})
	add(Record{Event: "output", Text: "bin  run.sh   "})
	add(Record{Event: "output", Text: ""})
	add(Record{Event: "output", Text: "f\u00fcr \u65e5\u672c\u8a9e\u306e\u9577\u3044\u884c\u306f\u753b\u9762\u306e\u5e45\u3067\u5207\u3089\u308c\u308b \U0001f600 e\u0301"})
	add(Record{Event: "output", Text: "Password: ", Partial: true})
	add(Record{Event: "output", Text: "on standard error", Stream: "stderr"})
	add(Record{Event: "output", Text: "\x1b]0;title\x07\x1b[2J\x9b1m \u0085\u202egnp.exe\u2066 \x7f\r\n\xff\u200b"}).Record.OperationUserName = "Eve\x1b[31m\nhttps"
	add(Record{Event: "resize", Text: "terminal resized to 132x43"})
	add(Record{Event: "gap", Text: "512 bytes are missing"})
	add(Record{Event: "output", Text: "came twice"}).Repeat = true
	add(Record{Event: "output", Text: "a user of a long name"}).Record.OperationUserName = "Augusta Ada King, Countess of Lovelace"
	add(Record{Event: "output", Text: "an operation of a large number"}).Record.OperationID = "1234567890"
	add(Record{Event: "end", Text: "session ended: exit, status 0", ExitStatus: &status})
	add(Record{Event: "end", Text: "session ended: exit, status 130", ExitStatus: &failed})
	for _, raw := range []string{line("7", 5, "bin  run.sh"), "<13>1 - - - - - - not from ttydrain \x1b[2J\xff"} {
		m, err := ParseMessage([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Received{Drain: Syslog, At: at, Record: RecordOf(m), Raw: []byte(raw), Syslog: m})
	}
	return append(all, Received{Drain: HTTPS, At: at, Raw: []byte("{\"hello\":\"\u009b1mworld\u202e\x7f \U000e0041\",\n \"n\": [1,\t2]}")})
}

func printAll(t *testing.T, o PrinterOptions) []byte {
	t.Helper()
	o.Location = time.UTC
	var b bytes.Buffer
	p := NewPrinter(&b, o)
	for _, r := range samples(t) {
		if err := p.Print(r); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestPrinterGolden(t *testing.T) {
	for name, o := range map[string]PrinterOptions{
		"plain":  {},
		"narrow": {Width: 72},
		"tiny":   {Width: 10},
		"color":  {Color: true, Width: 100},
		"json":   {JSON: true, Color: true, Width: 10},
	} {
		got := printAll(t, o)
		path := filepath.Join("testdata", "printer-"+name+".txt")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestPrinterIsSafe(t *testing.T) {
	for _, o := range []PrinterOptions{{}, {Width: 60}, {JSON: true}} {
		got := printAll(t, o)
		if !utf8.Valid(got) {
			t.Errorf("%+v: not UTF-8", o)
		}
		for _, c := range string(got) {
			if c != '\n' && (unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c)) {
				t.Errorf("%+v prints %q", o, c)
			}
		}
		if lines := bytes.Count(got, []byte("\n")); lines != len(samples(t)) {
			t.Errorf("%+v: %d lines for %d records", o, lines, len(samples(t)))
		}
	}
	// With colours, the only escape sequences are the printer's own.
	colored := printAll(t, PrinterOptions{Color: true})
	for _, part := range strings.Split(string(colored), "\x1b")[1:] {
		parameter, _, ok := strings.Cut(strings.TrimPrefix(part, "["), "m")
		if !ok || !strings.Contains(" 0 1 2 31 32 33 34 35 36 ", " "+parameter+" ") {
			t.Errorf("prints the escape sequence %q", part)
		}
	}
	var stripped strings.Builder
	for i, part := range strings.Split(string(colored), "\x1b[") {
		if i > 0 {
			_, part, _ = strings.Cut(part, "m")
		}
		stripped.WriteString(part)
	}
	if plain := printAll(t, PrinterOptions{}); stripped.String() != string(plain) {
		t.Errorf("colours change the text:\n%s\nwant\n%s", stripped.String(), plain)
	}
}

func TestPrinterWidth(t *testing.T) {
	for _, width := range []int{72, 80, 120} {
		for line := range strings.Lines(string(printAll(t, PrinterOptions{Width: width}))) {
			if n := cellsOf(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d cells of %d: %s", n, width, line)
			}
		}
	}
	for text, want := range map[string]int{"": 0, "abc": 3, "\u65e5\u672c": 4, "e\u0301": 1, "\U0001f600": 2, "\u2502": 1} {
		if got := cellsOf(text); got != want {
			t.Errorf("%q takes %d cells, want %d", text, got, want)
		}
	}
	for _, test := range []struct {
		text  string
		cells int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"\u65e5\u672c", 4, "\u65e5\u672c"}, {"\u65e5\u672c", 3, "\u65e5…"}, {"\u65e5\u672c", 2, "…"}, {"ab", 1, "…"}} {
		if got := cut(test.text, test.cells); got != test.want {
			t.Errorf("%q in %d cells: %q, want %q", test.text, test.cells, got, test.want)
		}
	}
}

// TestPrinterKeepsJSON checks that the printed JSON has the same value as the received one.
func TestPrinterKeepsJSON(t *testing.T) {
	lines := bytes.Split(bytes.TrimSuffix(printAll(t, PrinterOptions{JSON: true}), []byte("\n")), []byte("\n"))
	for i, r := range samples(t) {
		var got, want any
		if err := json.Unmarshal(lines[i], &got); err != nil {
			t.Fatalf("%v: %s", err, lines[i])
		}
		raw := r.Raw
		if r.Syslog != nil {
			var err error
			if raw, err = json.Marshal(r.Syslog); err != nil {
				t.Fatal(err)
			}
		}
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("printed %v, received %v", got, want)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestPrinterFails(t *testing.T) {
	if err := NewPrinter(brokenWriter{}, PrinterOptions{}).Print(Received{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
	if err := NewPrinter(io.Discard, PrinterOptions{JSON: true}).Print(Received{Raw: []byte("{")}); err == nil {
		t.Error("prints invalid JSON")
	}
}

func TestTerminalOptions(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if o := TerminalOptions(f); o != (PrinterOptions{}) {
		t.Errorf("a file gets %+v", o)
	}
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer terminal.Close()
	if err := pty.Setsize(master, &pty.Winsize{Cols: 97, Rows: 20}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		noColor, term string
		color         bool
	}{{"", "xterm", true}, {"1", "xterm", false}, {"", "dumb", false}} {
		t.Setenv("NO_COLOR", test.noColor)
		t.Setenv("TERM", test.term)
		if o := TerminalOptions(terminal); o != (PrinterOptions{Color: test.color, Width: 97}) {
			t.Errorf("NO_COLOR=%s TERM=%s: %+v", test.noColor, test.term, o)
		}
	}
}
