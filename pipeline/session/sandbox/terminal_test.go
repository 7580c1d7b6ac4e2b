//go:build linux

package sandbox

import (
	"encoding/binary"
	"io"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

func TestTerminalIsControlling(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		expectOutput(t, r, terminal(`test "/dev/$(ps -o tty= -p $$ | tr -d ' ')" = "$(tty)" && echo same`), "same\r\n")
		if r.caps.Namespaces {
			expectOutput(t, r, terminal("tty"), "/dev/pts/0\r\n")
		}
	})
}

func TestProgramsThatOpenTheTerminal(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		t.Run("getpass", func(t *testing.T) {
			const python = "/usr/bin/python3"
			if exec.Command(python, "-c", "import getpass").Run() != nil {
				missing(t, "getpass: there is no %s", python)
			}
			p := start(t, r, terminal(python+` -c 'import getpass; print(len(getpass.getpass("Secret? ")))' </dev/null`))
			got := sessiontest.ReadUntil(t, p.Stdout(), "Secret? ")
			if _, err := io.WriteString(p.Stdin(), "hunter2\n"); err != nil {
				t.Error(err)
			}
			if got += sessiontest.Finish(t, p).Stdout; got != "Secret? \r\n7\r\n" {
				t.Errorf("%q", got)
			}
		})
		t.Run("ssh-keygen", func(t *testing.T) {
			if _, err := exec.LookPath("ssh-keygen"); err != nil {
				missing(t, "ssh-keygen: there is none")
			}
			s := terminal("ssh-keygen -q -t ed25519 -f key </dev/null && echo made")
			if r.caps.Has(OwnUser) && !r.caps.Namespaces {
				s.Isolation.User = "nobody" // a session's separate user has no name there, and ssh-keygen needs one
			}
			p := start(t, r, s)
			var got string
			for _, prompt := range []string{"passphrase", "again: "} {
				got += sessiontest.ReadUntil(t, p.Stdout(), prompt)
				if _, err := io.WriteString(p.Stdin(), "hunter2\n"); err != nil {
					t.Error(err)
				}
			}
			if got += sessiontest.Finish(t, p).Stdout; !strings.Contains(got, "made") || strings.Contains(got, "hunter2") {
				t.Errorf("%q", got)
			}
		})
		t.Run("all closed and opened again", func(t *testing.T) {
			expectOutput(t, r, terminal("exec </dev/null >/dev/null 2>&1; sleep 0.2; echo back >/dev/tty"), "back\r\n")
		})
	})
}

func TestSignalToForeground(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		p := start(t, r, terminal(`set -m; echo ready; bash -c 'trap "echo program; exit 9" TERM; echo trap; while :; do sleep 0.01; done'; echo shell=$?`))
		sessiontest.ReadUntil(t, p.Stdout(), "trap")
		if err := p.Signal("TERM"); err != nil {
			t.Error(err)
		}
		if got := sessiontest.Finish(t, p); !strings.Contains(got.Stdout, "program\r\n") || !strings.Contains(got.Stdout, "shell=9\r\n") {
			t.Errorf("%+v", got)
		}
	})
}

// modes encodes opcodes with their arguments as in RFC 4254 §8.
func modes(pairs ...uint32) []byte {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		b = binary.BigEndian.AppendUint32(append(b, byte(pairs[i])), pairs[i+1])
	}
	return append(b, 0)
}

func TestModesReachTheTerminal(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		spec := terminal("stty -a")
		spec.Terminal.Modes = modes(53, 0, 1, 7, 3, 8, 8, 255, 42, 1, 72, 0, 38, 0, 129, 38400)
		got := run(t, r, spec).Stdout
		for _, want := range []string{" -echo ", "intr = ^G", "erase = ^H", "start = <undef>", " iutf8", "-onlcr", "-ixon", "icanon"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
	})
}

func TestApplyModes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		modes []byte
		want  unix.Termios
	}{
		{"none", nil, unix.Termios{}},
		{"end only", modes(), unix.Termios{}},
		{"flags of every word", modes(36, 1, 51, 1, 70, 1, 92, 1),
			unix.Termios{Iflag: unix.ICRNL, Lflag: unix.ICANON, Oflag: unix.OPOST, Cflag: unix.PARENB}},
		{"any value but zero is set", modes(50, 77), unix.Termios{Lflag: unix.ISIG}},
		{"OpenSSH sends CS7 with CS8", modes(90, 1, 91, 1), unix.Termios{Cflag: unix.CS8}},
		{"CS7 alone", modes(90, 1, 91, 0), unix.Termios{Cflag: unix.CS7}},
		{"not on Linux", modes(11, 3, 15, 3, 17, 3, 99, 1, 128, 9600), unix.Termios{}},
		{"stops at the end", append(modes(50, 1), 53, 0, 0, 0, 1), unix.Termios{Lflag: unix.ISIG}},
		{"stops at what it does not know", modes(50, 1, 160, 0, 53, 1), unix.Termios{Lflag: unix.ISIG}},
		{"cut off", modes(50, 1, 53, 1)[:9], unix.Termios{Lflag: unix.ISIG}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got unix.Termios
			if applyModes(&got, tt.modes); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func FuzzApplyModes(f *testing.F) {
	f.Add(modes(1, 3, 36, 1, 53, 1, 128, 38400))
	f.Add([]byte{159, 255, 255, 255, 255, 42})
	f.Fuzz(func(t *testing.T, b []byte) {
		var once, twice unix.Termios
		applyModes(&once, b)
		twice = once
		if applyModes(&twice, b); once != twice {
			t.Error("the same modes again change something")
		}
	})
}
