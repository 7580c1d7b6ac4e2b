package corpus

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

	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// Record makes all recordings again, in the folder dir. It needs root, because the fictitious user
// of the recordings has a machine of their own.
func Record(dir string) error {
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
		failed = make(chan error, len(scripts))
	)
	for name, keys := range scripts {
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
	cmd.Env = []string{process.Environment("recording")}
	// The setup has a pipe of its own, because standard input is the terminal.
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
	go func() { // ends when the child has read the setup, or has ended
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
	cmd.Wait() // its status is that of the last command, which does not matter
	if err != nil {
		return err
	}
	return os.WriteFile(file, s.out, 0o644)
}

// A person types at uneven speed and with typos.
type person struct {
	rng      *rand.Rand
	keyboard io.Writer
}

func (p *person) types(text string) error {
	pause := func(least, most int) { time.Sleep(time.Duration(least+p.rng.IntN(most-least)) * time.Millisecond) }
	pause(300, 1500)
	for len(text) > 0 {
		n := 1
		if text[0] == escape[0] && len(text) > 2 && text[1] == '[' { // the bytes of a key are sent together
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

// A screen records the output of a terminal.
type screen struct {
	began time.Time
	cast  *replay.Asciicast

	mu    sync.Mutex // guards the fields below
	out   []byte     // the recording
	shown []byte     // since forget
	last  time.Time  // time of the last output
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
				return errors.New("the output is not UTF-8, which an asciicast cannot hold exactly")
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

// await waits until the terminal has shown text, and then no output for a while.
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
			return fmt.Errorf("the terminal does not show %q; the end of its output is %q", text, seen[max(0, len(seen)-500):])
		}
	}
}

// recordingSetup is the setup of the process of a recording.
type recordingSetup struct{ Script, RC []byte }

// RecordMain is the role that creates the machine of the fictitious user and becomes their shell.
func RecordMain(*json.Decoder, *json.Encoder) error {
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
		os.MkdirAll("/app", 0o755), // an empty folder stays on this machine
		unix.Mount("app", "/app", "tmpfs", 0, "mode=755,uid=1000,gid=1000"),
		unix.Mount("tmp", "/tmp", "tmpfs", 0, "mode=1777"),
	); err != nil {
		return fmt.Errorf("set up namespaces for the recording (needs root): %w", err)
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
		return fmt.Errorf("run furnish.sh: %w: %s", err, out)
	}
	if err := os.Chdir("/app/shop"); err != nil {
		return err
	}
	return syscall.Exec("/bin/bash", []string{"bash", "--rcfile", "/app/.bashrc", "-i"}, env)
}
