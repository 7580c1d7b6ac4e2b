//go:build linux

package sandbox

import (
	"io"
	"testing"
)

func benchRuntime(b *testing.B) *Runtime {
	b.Helper()
	r, err := New(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := r.Close(); err != nil {
			b.Error(err)
		}
	})
	b.Log(r.Capabilities())
	return r
}

// BenchmarkSession runs a whole session, from its start until no process is left.
func BenchmarkSession(b *testing.B) {
	r := benchRuntime(b)
	for b.Loop() {
		spec := terminal("")
		spec.Command = []string{"/bin/true"}
		p, err := r.Start(b.Context(), spec)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, p.Stdout()); err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTerminal copies 100 MB of output through the terminal.
func BenchmarkTerminal(b *testing.B) {
	r := benchRuntime(b)
	buf := make([]byte, 32<<10)
	for b.Loop() {
		p, err := r.Start(b.Context(), terminal("head -c 100000000 /dev/zero"))
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{p.Stdout()}, buf)
		if n != 100000000 || err != nil {
			b.Fatal(n, err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}

// BenchmarkEcho measures a typed byte and its echo.
func BenchmarkEcho(b *testing.B) {
	r := benchRuntime(b)
	p, err := r.Start(b.Context(), terminal("stty -icanon; echo ready; exec cat >/dev/null"))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 32<<10)
	if _, err := io.ReadAtLeast(p.Stdout(), buf, len("ready\r\n")); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := p.Stdin().Write([]byte("x")); err != nil {
			b.Fatal(err)
		}
		if _, err := p.Stdout().Read(buf); err != nil {
			b.Fatal(err)
		}
	}
	p.Kill()
	io.Copy(io.Discard, p.Stdout())
	if _, err := p.Wait(); err != nil {
		b.Fatal(err)
	}
}
