package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
)

const (
	// echoWarmup is the number of echoes at the start that do not count.
	echoWarmup = 50
	// ReadyMark is printed by a command when it is ready. The output before is the server's own.
	ReadyMark = "<begin>"
	// EchoCommand is a command that shows every typed byte once.
	EchoCommand = "stty raw -echo; printf '" + ReadyMark + "'; exec cat"
)

// A Subject measures an SSH server: a user types in a terminal and shows a large file.
type Subject struct {
	key string
	// start starts the server, which accepts the client's key.
	start func(ctx context.Context, s *measure.Settings, dir string, client ssh.Signer) (*Server, error)
	// last is the output of a recorder after that of the session; "" for none.
	last string

	Client
	settings *measure.Settings
	text     catText
}

// A Server is a running SSH server.
type Server struct {
	*process.Server
	Address, User string
	// Release stops other processes that were started for it; nil for none.
	Release func()
}

func (d *Subject) Name() string { return d.key }

func (d *Subject) Prepare(ctx context.Context, s *measure.Settings) (err error) {
	// The user that the session runs as can read this folder.
	if d.text, err = makeCatText(filepath.Join(s.Dir, "cat.txt"), s.Seed, s.CatBytes); err != nil {
		return err
	}
	return d.serve(ctx, s)
}

// serve starts the server and waits until it accepts the client.
func (d *Subject) serve(ctx context.Context, s *measure.Settings) error {
	d.settings = s
	dir, err := os.MkdirTemp(s.Dir, "ssh-")
	if err != nil {
		return err
	}
	if d.Signer, err = NewKey(filepath.Join(dir, "client_key")); err != nil {
		return err
	}
	if d.Server, err = d.start(ctx, s, dir, d.Signer); err != nil {
		return err
	}
	return d.Server.Await(ctx, func() error {
		c, err := d.Dial(ctx)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func (d *Subject) Close() {
	if d.Server == nil {
		return
	}
	d.Server.Stop()
	if d.Server.Release != nil {
		d.Server.Release()
	}
}

func (d *Subject) Run(ctx context.Context) (measure.Sample, error) {
	result := make(measure.Sample)
	if err := d.echo(ctx, result); err != nil {
		return nil, fmt.Errorf("echo: %w; the server's output:\n%s", err, d.Server.Output())
	}
	if err := d.cat(ctx, result); err != nil {
		return nil, fmt.Errorf("cat: %w; the server's output:\n%s", err, d.Server.Output())
	}
	return result, nil
}

// echo types bytes, each after the echo of the one before, and compares every echo.
func (d *Subject) echo(ctx context.Context, into measure.Sample) error {
	if d.settings.Echoes == 0 {
		return nil
	}
	t, err := d.Open(ctx, EchoCommand)
	if err != nil {
		return err
	}
	defer t.Client.Close()
	var took []time.Duration
	answer := make([]byte, 1)
	for i := range echoWarmup + d.settings.Echoes {
		typed := []byte{byte('a' + i%26)}
		began := time.Now()
		if _, err := t.stdin.Write(typed); err != nil {
			return err
		}
		if _, err := io.ReadFull(t.stdout, answer); err != nil {
			return err
		}
		if i >= echoWarmup {
			took = append(took, time.Since(began))
		}
		if answer[0] != typed[0] {
			return fmt.Errorf("echo %d is %q, expected %q", i, answer, typed)
		}
	}
	slices.Sort(took)
	into[measure.EchoP50] = measure.Milliseconds(took[len(took)/2])
	into[measure.EchoP99] = measure.Milliseconds(took[len(took)*99/100])
	return nil
}

// cat shows the file and compares all of its output.
func (d *Subject) cat(ctx context.Context, into measure.Sample) error {
	if d.settings.CatBytes == 0 {
		return nil
	}
	before, err := d.Server.Settled(ctx)
	if err != nil {
		return err
	}
	// With the usual modes of a terminal: newlines become carriage returns and newlines.
	t, err := d.Open(ctx, "stty -echo; printf '"+ReadyMark+"'; read go; cat '"+d.text.file+"'")
	if err != nil {
		return err
	}
	defer t.Client.Close()
	began := time.Now()
	if _, err := io.WriteString(t.stdin, "\n"); err != nil {
		return err
	}
	var shown int64
	sum := crc32.New(castagnoli)
	buffer := make([]byte, 256<<10)
	for {
		n, err := t.stdout.Read(buffer)
		if more := int(shown + int64(n) - d.text.shown); more > 0 && more <= n && string(buffer[n-more:n]) == d.last {
			n -= more
		}
		shown += int64(n)
		sum.Write(buffer[:n])
		if shown >= d.text.shown || err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	took := time.Since(began)
	if err := t.session.Wait(); err != nil {
		return err
	}
	if shown != d.text.shown || sum.Sum32() != d.text.sum {
		return fmt.Errorf("%d bytes of %d were shown, or their checksum differs", shown, d.text.shown)
	}
	t.Client.Close()
	after, err := d.Server.Settled(ctx)
	if err != nil {
		return err
	}
	into[measure.CatRate] = float64(shown) / measure.Megabyte / took.Seconds()
	into[measure.CatSeconds] = (after - before).Seconds() / (float64(shown) / (100 * measure.Megabyte))
	return nil
}

// A catText describes the file that cat shows.
type catText struct {
	file  string
	shown int64  // bytes that a terminal shows
	sum   uint32 // CRC-32C of these bytes
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// makeCatText creates the file unless it exists.
func makeCatText(file string, seed uint64, size int64) (catText, error) {
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		f, err := os.Create(file)
		if err != nil {
			return catText{}, err
		}
		if _, _, err := corpus.WriteText(f, seed, size); err != nil {
			f.Close()
			return catText{}, err
		}
		if err := f.Close(); err != nil {
			return catText{}, err
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return catText{}, err
	}
	data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
	return catText{file, int64(len(data)), crc32.Checksum(data, castagnoli)}, nil
}
