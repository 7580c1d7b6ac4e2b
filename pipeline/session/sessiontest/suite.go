package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// Subject is a runtime under test. It must be able to run bash with the usual programs.
type Subject struct {
	// Runtime returns a runtime for one test.
	Runtime func(t *testing.T) session.Runtime
	// Container describes the sessions' containers, if there are any.
	Container session.Container
	// Signals reports whether an exit names the signal that ended a command.
	Signals bool
	// LateSize reports whether the terminal's size is set shortly after the command's start.
	LateSize bool
	// HostName reports whether a session's host name is its name.
	HostName bool
	// Quick skips slow tests: much output, a slow client, much memory.
	Quick bool
	// Memory reports whether the kernel limits the memory of all processes of a session together.
	Memory bool
	// Local reports whether the sessions' processes are visible in this host's /proc.
	Local bool
}

// Run runs the suite.
func Run(t *testing.T, s Subject) {
	type test struct {
		name string
		run  func(*testing.T, *kit)
	}
	tests := []test{
		{"exit", testExit},
		{"terminal or not", testTerminalOrNot},
		{"environment", testEnvironment},
		{"resize", testResize},
		{"signal", testSignal},
		{"control characters", testControlCharacters},
		{"every byte typed", testEveryByteTyped},
		{"the last output", testLastOutput},
		{"the last output, read late", testOutputAfterWait},
		{"streams apart", testStreamsApart},
		{"output closed", testCloseOutput},
		{"everything dies", testEverythingDies},
		{"a start that is cancelled", testCancelledStart},
		{"refusals", testRefusals},
		{"twenty at once", testTwentyAtOnce},
	}
	if !s.Quick {
		tests = append(tests, test{"a reader that is slow", testSlowReader}, test{"large output", testLargeOutput}, test{"memory", testMemory})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, &kit{Subject: s, runtime: s.Runtime(t)}) })
	}
}

func testExit(t *testing.T, k *kit) {
	for _, test := range []struct {
		line string
		want session.Exit
	}{
		{"exit 0", session.Exit{}},
		{"exit 7", session.Exit{Status: 7}},
		{"exit 255", session.Exit{Status: 255}},
		{"exit 143", session.Exit{Status: 143}}, // without a signal
		{"no-such-program", session.Exit{Status: 127}},
		{"kill -TERM $$", session.Exit{Status: 143, Signal: "TERM"}},
		{"kill -KILL $$", session.Exit{Status: 137, Signal: "KILL"}},
		{"ulimit -c 0; kill -SEGV $$", session.Exit{Status: 139, Signal: "SEGV"}},
		{"kill -36 $$", session.Exit{Status: 164, Signal: "RT36"}},
	} {
		if !k.Signals {
			test.want.Signal = ""
		}
		for _, spec := range []session.Spec{k.line(test.line), k.terminal(test.line)} {
			if got := k.run(t, spec); got.Exit != test.want {
				t.Errorf("%s: %+v, want %+v (%s%s)", test.line, got.Exit, test.want, got.Stdout, got.Stderr)
			}
		}
	}
	// The app's command alone, with unmodified arguments.
	spec := k.line("")
	spec.Command = []string{"/bin/echo", "-n", "a  b", "$HOME"}
	k.expect(t, spec, "a  b $HOME")
}

func testTerminalOrNot(t *testing.T, k *kit) {
	const ask = "for i in 0 1 2; do test -t $i && echo -n yes || echo -n no; done"
	k.expect(t, k.line(ask), "nonono")
	k.expect(t, k.terminal(ask), "yesyesyes")
	size := "stty size"
	if k.LateSize {
		size = "until [ \"$(stty size)\" != '0 0' ]; do sleep 0.01; done; " + size
	}
	k.expect(t, k.terminal(size+"; echo $TERM"), "37 91\r\nxterm-256color\r\n")
	k.expect(t, k.terminal("exec </dev/null >/dev/null 2>&1; echo back >/dev/tty"), "back\r\n")
	if err := k.runtimeError(session.Spec{Name: "s-1", Container: k.Container}); err == nil {
		t.Error("a session without a command was started")
	}
}

func testEnvironment(t *testing.T, k *kit) {
	spec := k.terminal(`echo "$A|$X|$TERM|$EMPTY|${HOME:+home}|${PATH:+path}"`)
	spec.Env = []string{"A=1", "X=a=b", "A=2", "EMPTY="}
	k.expect(t, spec, "2|a=b|xterm-256color||home|path\r\n")
	if k.HostName {
		k.expect(t, k.line("hostname"), "s-1\n")
	}
	spec = k.terminal("echo $TERM")
	spec.Env = []string{"TERM=vt100"}
	k.expect(t, spec, "vt100\r\n")
}

func testResize(t *testing.T, k *kit) {
	p := k.start(t, k.terminal(`trap 'stty size | grep "50 200" && exit' WINCH; echo ready; while :; do sleep 0.01; done`))
	ReadUntil(t, p.Stdout(), "ready\r\n")
	if err := p.Resize(session.Size{Width: 200, Height: 50}); err != nil {
		t.Error(err)
	}
	if got := Finish(t, p); got.Stdout != "50 200\r\n" {
		t.Errorf("%+v", got)
	}
	if err := p.Resize(session.Size{Width: 1, Height: 1}); err != nil {
		t.Errorf("after the end: %v", err)
	}
	p = k.start(t, k.line("true"))
	if err := p.Resize(session.Size{Width: 1, Height: 1}); err == nil {
		t.Error("there is no terminal")
	}
	Finish(t, p)
}

func testSignal(t *testing.T, k *kit) {
	p := k.start(t, k.line(`trap 'echo usr1; exit 4' USR1; echo ready; while :; do sleep 0.01; done`))
	ReadUntil(t, p.Stdout(), "ready")
	if err := p.Signal("NONE"); err == nil {
		t.Error("an unknown signal was taken")
	}
	if err := p.Signal("USR1"); err != nil {
		t.Error(err)
	}
	if got := Finish(t, p); strings.TrimPrefix(got.Stdout, "\n") != "usr1\n" || got.Exit.Status != 4 {
		t.Errorf("%+v", got)
	}
	if err := p.Signal("TERM"); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

func testControlCharacters(t *testing.T, k *kit) {
	spec := k.terminal("")
	spec.Command = []string{"bash", "-c", "echo ready; exec sleep 1000"}
	p := k.start(t, spec)
	ReadUntil(t, p.Stdout(), "ready")
	k.press(t, p, "\x03")
	if got := Finish(t, p).Exit.Status; got != 130 {
		t.Errorf("after Ctrl-C: %d", got)
	}
	p = k.start(t, k.terminal("echo ready; cat; echo over"))
	ReadUntil(t, p.Stdout(), "ready")
	if err := p.Stdin().Close(); err != nil { // does nothing with a terminal
		t.Error(err)
	}
	k.press(t, p, "a\n\x04")
	if got := Finish(t, p); !strings.HasSuffix(got.Stdout, "a\r\nover\r\n") {
		t.Errorf("after Ctrl-D: %+v", got)
	}
	// Job control: the shell has the terminal, and gives it away and takes it back.
	spec = k.terminal("")
	spec.Command = []string{"bash", "--norc", "--noprofile", "-i"}
	spec.Env = []string{"PS1=prompt> "}
	p = k.start(t, spec)
	for _, step := range []struct{ after, in string }{
		{"prompt> ", `bash -c 'trap "echo cont""inued" CONT; echo be""gun; while :; do sleep 0.01; done'` + "\n"},
		{"begun", "\x1a"},
		{"Stopped", ""},
		{"prompt> ", "fg\n"},
		{"continued", "\x03"},
		{"prompt> ", "exit 5\n"},
	} {
		if got := ReadUntil(t, p.Stdout(), step.after); strings.Contains(got, "no job control") {
			t.Errorf("%q", got)
		}
		k.press(t, p, step.in)
	}
	if got := Finish(t, p); got.Exit.Status != 5 {
		t.Errorf("%+v", got)
	}
}

// testEveryByteTyped checks that no byte is held back, interpreted as a command, or changed.
func testEveryByteTyped(t *testing.T, k *kit) {
	p := k.start(t, k.terminal("stty raw -echo; echo ready; head -c 514 | od -An -v -tu1; stty sane"))
	ReadUntil(t, p.Stdout(), "ready\n")
	var typed []byte
	for b := range 256 {
		typed = append(typed, byte(b), byte(b))
	}
	typed = append(typed, 16, 17) // Ctrl-P Ctrl-Q
	k.press(t, p, string(typed))
	var want []string
	for _, b := range typed {
		want = append(want, fmt.Sprint(b))
	}
	if got := strings.Fields(Finish(t, p).Stdout); !slices.Equal(got, want) {
		t.Errorf("%d came: %v", len(got), got)
	}
	// Each byte is passed on at once: the echo of a key does not wait for the next key.
	p = k.start(t, k.terminal("stty raw -echo; echo ready; cat"))
	ReadUntil(t, p.Stdout(), "ready\n")
	for _, key := range []byte{16, 17, 0x1d, 1, 'a', 0x7f, 0} {
		k.press(t, p, string([]byte{key}))
		ReadUntil(t, p.Stdout(), string([]byte{key}))
	}
	p.Kill()
	Finish(t, p)
}

func testLastOutput(t *testing.T, k *kit) {
	for i := range 30 {
		// More than a terminal's buffer holds, and the last of it immediately before the end.
		want := strings.Repeat("0123456789abcdef", 600) + fmt.Sprintf("last-%d", i)
		spec := k.line("")
		if i%2 == 0 {
			spec = k.terminal("")
		}
		spec.Command = []string{"/bin/echo", "-n", want}
		if got := k.run(t, spec); got.Stdout != want {
			t.Fatalf("round %d: %d bytes of %d", i, len(got.Stdout), len(want))
		}
	}
}

func testOutputAfterWait(t *testing.T, k *kit) {
	for _, spec := range []session.Spec{k.line("echo -n here"), k.terminal("echo -n here")} {
		p := k.start(t, spec)
		if _, err := p.Wait(); err != nil {
			t.Error(err)
		}
		p.Kill()
		for _, want := range []string{"here", ""} { // then end of file, on every further read
			if got, err := io.ReadAll(p.Stdout()); err != nil || string(got) != want {
				t.Errorf("%q %v", got, err)
			}
		}
		if p.Stderr() != nil {
			io.Copy(io.Discard, p.Stderr())
		}
	}
}

// testSlowReader checks that no output is lost when the client reads nothing for a while, or
// slowly, and the command ends or waits in the meantime. A runtime that gives up loses the content
// of the last pipe: one of these sizes lets the command just finish writing.
func testSlowReader(t *testing.T, k *kit) {
	var sessions sync.WaitGroup
	few := make(chan struct{}, 16)
	for i := range 32 {
		sessions.Go(func() {
			few <- struct{}{}
			defer func() { <-few }()
			size := 1<<20 + i*60000
			spec := k.line(fmt.Sprintf("yes 0123456789abcde | head -c %d", size))
			if i%4 == 0 {
				spec = k.terminal("stty -opost; " + spec.CommandLine)
			}
			spec.Name = fmt.Sprintf("slow-%d", i)
			p, err := k.runtime.Start(t.Context(), spec)
			if err != nil {
				t.Error(err)
				return
			}
			p.Stdin().Close()
			little := 0
			for range 40 { // the client's speed does not depend on the machine
				<-time.After(100 * time.Millisecond)
				if i%3 > 0 {
					n, err := io.ReadFull(p.Stdout(), make([]byte, 1000))
					if little += n; err != nil {
						t.Error(err)
					}
				}
			}
			if got := Finish(t, p); little+len(got.Stdout) != size || got.Exit.Status != 0 {
				t.Errorf("%d bytes of %d, %+v", little+len(got.Stdout), size, got.Exit)
			}
		})
	}
	sessions.Wait()
}

func testStreamsApart(t *testing.T, k *kit) {
	data := make([]byte, 5<<20)
	for i := range data {
		data[i] = byte(i*i>>3 + i)
	}
	p := k.start(t, k.line("tee /proc/self/fd/2; echo done >&2"))
	go func() { // ends when all is written
		defer p.Stdin().Close()
		if _, err := p.Stdin().Write(data); err != nil {
			t.Error(err)
		}
	}()
	got := Finish(t, p)
	if got.Stdout != string(data) {
		t.Errorf("standard output has %d bytes", len(got.Stdout))
	}
	if got.Stderr != string(data)+"done\n" {
		t.Errorf("standard error has %d bytes", len(got.Stderr))
	}
}

// testCloseOutput checks that a command that writes to a closed output ends by SIGPIPE, or by
// itself, and one on a terminal that was hung up by SIGHUP. No other command ends.
func testCloseOutput(t *testing.T, k *kit) {
	for _, test := range []struct {
		name, line string
		terminal   bool
		want       []int // statuses, of which one is right for each kind of runtime
	}{
		{"a command that writes", "exec yes", false, []int{141}},
		{"a shell that writes", "while :; do echo y; done", false, []int{141}},
		{"a command that ignores SIGPIPE", "trap '' PIPE; while echo y; do :; done; exit 3", false, []int{3, 137}},
		{"a command on a terminal that writes", "exec yes", true, []int{129}},
		{"a command on a terminal that waits", "echo y; exec sleep 1000", true, []int{129}},
		{"a shell on a terminal", "while :; do echo y; done", true, []int{129}},
	} {
		spec := k.line(test.line)
		if test.terminal {
			spec = k.terminal(test.line)
		}
		p := k.start(t, spec)
		ReadUntil(t, p.Stdout(), "y")
		if err := p.CloseOutput(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		got := Finish(t, p)
		if !slices.Contains(test.want, got.Exit.Status) {
			t.Errorf("%s: %+v, %q", test.name, got.Exit, got.Stderr)
		}
		if err := p.CloseOutput(); err != nil {
			t.Errorf("%s: after the end: %v", test.name, err)
		}
	}
	// A command that does not write there continues, and standard error stays open.
	p := k.start(t, k.line("echo ready; read line; echo $line >&2; exit 5"))
	ReadUntil(t, p.Stdout(), "ready\n")
	if err := p.CloseOutput(); err != nil {
		t.Error(err)
	}
	k.press(t, p, "still here\n")
	if got := Finish(t, p); got.Stderr != "still here\n" || got.Stdout != "" || got.Exit.Status != 5 {
		t.Errorf("%+v", got)
	}
}

func testLargeOutput(t *testing.T, k *kit) {
	const want = 20 << 20
	got := k.run(t, k.line("yes 0123456789abcde | head -c 20971520"))
	if got.Stdout != strings.Repeat("0123456789abcde\n", want/16) {
		t.Errorf("%d bytes of %d", len(got.Stdout), want)
	}
	got = k.run(t, k.terminal("stty -opost; yes 0123456789abcde | head -c 20971520"))
	if got.Stdout != strings.Repeat("0123456789abcde\n", want/16) {
		t.Errorf("with a terminal %d bytes of %d", len(got.Stdout), want)
	}
}

// testEverythingDies covers processes that leave their parent, their session and their terminal,
// and ignore every signal that can be ignored.
func testEverythingDies(t *testing.T, k *kit) {
	for i, make := range []func(string) session.Spec{k.line, k.terminal} {
		mark := Marker(2 + i)
		for _, test := range []struct {
			how, after string
			end        func(session.Process)
			status     int
		}{
			{"killed", "sleep " + mark, session.Process.Kill, 137},
			{"exited", "exit 3", func(session.Process) {}, 3},
			{"killed by a signal", "kill -KILL $$", func(session.Process) {}, 137},
		} {
			p := k.start(t, make(Daemons(mark)+test.after))
			ReadUntil(t, p.Stdout(), "running")
			if k.Local && test.how == "killed" && len(Running(t, mark)) == 0 {
				t.Error("the session's processes are not to be seen")
			}
			test.end(p)
			got := Finish(t, p)
			if left := Running(t, mark); len(left) > 0 {
				t.Errorf("%s: still running: %v", test.how, left)
			}
			if got.Exit.Status != test.status {
				t.Errorf("%s: %+v", test.how, got.Exit)
			}
			if test.how == "killed" && got.Exit.Signal != "KILL" {
				t.Errorf("%s: %+v", test.how, got.Exit)
			}
			p.Kill() // any number of times
		}
	}
}

func testCancelledStart(t *testing.T, k *kit) {
	mark, cause := Marker(6), errors.New("thought better of it")
	before, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := k.runtime.Start(before, k.line("sleep "+mark)); !errors.Is(err, cause) {
		t.Errorf("cancelled before: %v", err)
	}
	for i := range 8 {
		ctx, cancel := cancelAfter(t, time.Duration(i*i*10)*time.Millisecond, cause)
		p, err := k.runtime.Start(ctx, k.line("sleep "+mark))
		cancel()
		if err == nil { // it started first: end it here
			p.Kill()
			Finish(t, p)
		} else if !errors.Is(err, cause) {
			t.Error(err)
		}
		if left := Running(t, mark); len(left) > 0 {
			t.Fatalf("runs: %v", left)
		}
	}
}

func testRefusals(t *testing.T, k *kit) {
	for _, test := range []struct {
		spec session.Spec
		says string
	}{
		{session.Spec{Name: "s-1", Container: k.Container}, "no command"},
		{session.Spec{Name: "s-1", Command: []string{"sh"}, CommandLine: "echo \x00", Container: k.Container}, "NUL"},
	} {
		refusal, ok := errors.AsType[*session.Refusal](k.runtimeError(test.spec))
		if !ok || !strings.Contains(refusal.Message, test.says) {
			t.Errorf("%+v: %v", test.spec, refusal)
		}
	}
	k.expect(t, k.line("echo well"), "well\n") // and the runtime still works
}

// testMemory runs a program that keeps its input in memory.
func testMemory(t *testing.T, k *kit) {
	if !k.Memory {
		t.Skip("NOT TESTED: a memory limit of all processes together: this runtime has none here")
	}
	const keep = "head -c %dM /dev/zero | tail | wc -c; echo ${PIPESTATUS[1]}"
	k.expect(t, k.line(fmt.Sprintf(keep, 900)), "943718400\n0\n")
	k.expect(t, k.line(fmt.Sprintf(keep, 1025)), "0\n137\n")
	// The same for the session's command itself.
	spec := k.line("")
	spec.Command, spec.Memory = []string{"tail", "/dev/zero"}, 64<<20
	if got := k.run(t, spec); got.Exit.Status != 137 {
		t.Errorf("%+v", got.Exit)
	}
}

func testTwentyAtOnce(t *testing.T, k *kit) {
	var sessions sync.WaitGroup
	for i := range 20 {
		sessions.Go(func() {
			spec := k.line("echo $((6*7)); cat")
			if i%2 == 0 {
				spec = k.terminal("echo $((6*7)); read x; echo $x")
			}
			spec.Name = fmt.Sprintf("many-%d", i)
			p, err := k.runtime.Start(t.Context(), spec)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := io.WriteString(p.Stdin(), fmt.Sprintf("hello %d\n", i)); err != nil {
				t.Error(err)
			}
			p.Stdin().Close()
			if i%5 == 0 {
				p.Kill()
				Finish(t, p)
			} else if got := Finish(t, p); !strings.Contains(got.Stdout, "42") || !strings.Contains(got.Stdout, fmt.Sprintf("hello %d", i)) {
				t.Errorf("%d: %+v", i, got)
			}
		})
	}
	sessions.Wait()
}
