package gateway

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

func ptyRequest(term string, columns, rows uint32, modes string) []byte {
	return ssh.Marshal(struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{term, columns, rows, 640, 480, modes})
}

func windowChange(columns, rows uint32) []byte {
	return ssh.Marshal(struct{ Columns, Rows, Width, Height uint32 }{columns, rows, 640, 480})
}

func words(w ...string) []byte {
	var b []byte
	for _, s := range w {
		b = append(b, ssh.Marshal(struct{ S string }{s})...)
	}
	return b
}

func TestParsePTY(t *testing.T) {
	for _, test := range []struct {
		name    string
		payload []byte
		term    string
		size    session.Size
		ok      bool
	}{
		{"usual", ptyRequest("xterm", 132, 43, "\x80\x00\x00\x25\x80\x00"), "xterm", session.Size{Width: 132, Height: 43, PixelWidth: 640, PixelHeight: 480}, true},
		{"no size", ptyRequest("xterm", 0, 0, ""), "xterm", session.Size{Width: 80, Height: 24, PixelWidth: 640, PixelHeight: 480}, true},
		{"no name", ptyRequest("", 80, 24, ""), "", session.Size{Width: 80, Height: 24, PixelWidth: 640, PixelHeight: 480}, true},
		{"huge", ptyRequest("xterm", 1<<31, 1<<32-1, ""), "xterm", session.Size{Width: maxCells, Height: maxCells, PixelWidth: 640, PixelHeight: 480}, true},
		{"name with NUL", ptyRequest("x\x00", 80, 24, ""), "", session.Size{}, false},
		{"name with a variable", ptyRequest("x LD_PRELOAD=y", 80, 24, ""), "", session.Size{}, false},
		{"long name", ptyRequest(strings.Repeat("x", maxTerm+1), 80, 24, ""), "", session.Size{}, false},
		{"long modes", ptyRequest("x", 80, 24, strings.Repeat("\x01\x00\x00\x00\x00", maxModes)), "", session.Size{}, false},
		{"empty", nil, "", session.Size{}, false},
		{"cut", ptyRequest("xterm", 80, 24, "\x00")[:12], "", session.Size{}, false},
		{"too long", append(ptyRequest("xterm", 80, 24, ""), 1), "", session.Size{}, false},
	} {
		got, err := parsePTY(test.payload)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		} else if test.ok && (got.Name != test.term || got.Size != test.size) {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
	if got, err := parsePTY(ptyRequest("xterm", 1, 1, "\x01\x00\x00\x00\x03\x00")); err != nil || string(got.Modes) != "\x01\x00\x00\x00\x03\x00" {
		t.Errorf("modes: %+v, %v", got, err)
	}
}

func TestParseWindow(t *testing.T) {
	now := session.Size{Width: 80, Height: 24, PixelWidth: 800, PixelHeight: 480}
	for _, test := range []struct {
		payload []byte
		size    session.Size
		ok      bool
	}{
		{windowChange(100, 50), session.Size{Width: 100, Height: 50, PixelWidth: 640, PixelHeight: 480}, true},
		{windowChange(0, 50), session.Size{Width: 80, Height: 50, PixelWidth: 640, PixelHeight: 480}, true},
		{windowChange(100, 0), session.Size{Width: 100, Height: 24, PixelWidth: 640, PixelHeight: 480}, true},
		{windowChange(1<<32-1, 1), session.Size{Width: maxCells, Height: 1, PixelWidth: 640, PixelHeight: 480}, true},
		{ssh.Marshal(struct{ Columns, Rows, Width, Height uint32 }{10, 5, 0, 1 << 31}), session.Size{Width: 10, Height: 5, PixelHeight: maxPixels}, true},
		{nil, session.Size{}, false},
		{windowChange(1, 1)[:15], session.Size{}, false},
	} {
		if got, err := parseWindow(test.payload, now); got != test.size || (err == nil) != test.ok {
			t.Errorf("%x: %v, %v", test.payload, got, err)
		}
	}
}

func TestParseStrings(t *testing.T) {
	env := func(b []byte) (string, error) { name, value, err := parseEnv(b); return name + "=" + value, err }
	for _, test := range []struct {
		name    string
		parse   func([]byte) (string, error)
		payload []byte
		want    string
		ok      bool
	}{
		{"env", env, words("LC_ALL", "C\n=x"), "LC_ALL=C\n=x", true},
		{"env without a name", env, words("", "x"), "", false},
		{"env with = in its name", env, words("A=B", "x"), "", false},
		{"env with a digit first", env, words("1A", "x"), "", false},
		{"env with NUL", env, words("A", "x\x00y"), "", false},
		{"env too long", env, words("A", strings.Repeat("x", maxEnvSize)), "", false},
		{"env cut", env, words("A"), "", false},
		{"env and more", env, words("A", "b", "c"), "", false},
		{"exec", parseExec, words("ls -l; \xff"), "ls -l; \xff", true},
		{"exec of nothing", parseExec, words(""), "", true},
		{"exec with NUL", parseExec, words("ls\x00"), "", false},
		{"exec with a wrong length", parseExec, []byte("\xff\xff\xff\xffls"), "", false},
		{"subsystem", parseSubsystem, words("sftp"), "sftp", true},
		{"subsystem cut", parseSubsystem, []byte{0, 0}, "", false},
		{"signal", parseSignal, words("TERM"), "TERM", true},
		{"signal with SIG", parseSignal, words("SIGINT"), "INT", true},
		{"unknown signal", parseSignal, words("STOP"), "", false},
		{"small signal", parseSignal, words("term"), "", false},
		{"no signal", parseSignal, nil, "", false},
	} {
		got, err := test.parse(test.payload)
		if (err == nil) != test.ok || test.ok && got != test.want {
			t.Errorf("%s: %q, %v", test.name, got, err)
		}
	}
}

func TestExitPayloads(t *testing.T) {
	for _, test := range []struct {
		got  []byte
		want string
	}{
		{exitStatus(3), "\x00\x00\x00\x03"},
		{exitStatus(-1), "\x00\x00\x00\xff"},
		{exitSignal(session.Exit{Signal: "TERM"}), "\x00\x00\x00\x04TERM\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
		{exitSignal(session.Exit{Signal: "SEGV", CoreDumped: true}), "\x00\x00\x00\x04SEGV\x01\x00\x00\x00\x00\x00\x00\x00\x00"},
		{exitSignal(session.Exit{Signal: "BUS"}), "\x00\x00\x00\x0cBUS@ttydrain\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
	} {
		if string(test.got) != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

func FuzzPayloads(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(ptyRequest("xterm", 80, 24, "\x01\x00\x00\x00\x03\x00"))
	f.Add(windowChange(80, 24))
	f.Add(words("LC_ALL", "C"))
	f.Add(words("ls"))
	f.Add(words("KILL"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		inBounds := func(s session.Size) bool {
			return s.Width > 0 && s.Height > 0 && s.Width <= maxCells && s.Height <= maxCells
		}
		if terminal, err := parsePTY(payload); err == nil {
			if !inBounds(terminal.Size) || len(terminal.Modes) > maxModes || strings.ContainsAny(terminal.Name, "\x00 =\n") {
				t.Errorf("terminal %+v", terminal)
			}
		}
		if size, err := parseWindow(payload, session.Size{Width: 1, Height: 1}); err == nil && !inBounds(size) {
			t.Errorf("size %+v", size)
		}
		if name, value, err := parseEnv(payload); err == nil {
			if strings.ContainsAny(name, "\x00=") || name == "" || strings.Contains(value, "\x00") {
				t.Errorf("variable %q=%q", name, value)
			}
			if !bytes.Equal(words(name, value), payload) {
				t.Errorf("%q and %q from %x", name, value, payload)
			}
		}
		if command, err := parseExec(payload); err == nil && !bytes.Equal(words(command), payload) {
			t.Errorf("%q from %x", command, payload)
		}
		if name, err := parseSignal(payload); err == nil && !standardSignal(name) {
			t.Errorf("signal %q", name)
		}
		if name, err := parseSubsystem(payload); err == nil && !bytes.Equal(words(name), payload) {
			t.Errorf("%q from %x", name, payload)
		}
	})
}
