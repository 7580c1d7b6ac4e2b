package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
)

// Metrics of SSH servers.
const (
	echoP50    = "echo_p50_ms"
	echoP99    = "echo_p99_ms"
	catRate    = "cat_megabytes_per_second"
	catSeconds = "cat_processor_seconds_per_100_megabytes"
)

const (
	megabyte = 1e6
	// echoWarmup are the first echoes, which are not counted.
	echoWarmup = 50
	// begin is what a command prints when it is ready: what came before is the server's own.
	begin = "<begin>"
)

// sshSubject is an SSH server: a person types in a terminal and lists a large file.
type sshSubject struct {
	key string
	// start starts the server, which lets in whoever has the key; ready is for its stop.
	start func(ctx context.Context, s *settings, dir string, client ssh.Signer) (*sshServer, error)
	// last is what a recorder shows behind what the session does, when it ends; "" for nothing.
	last string
	// from is the address that a client connects from; nil for any.
	from net.IP

	settings *settings
	signer   ssh.Signer
	server   *sshServer
	text     catText
}

// An sshServer is a server that runs.
type sshServer struct {
	*server
	address, user string
	// release ends what else was started for it; nil for nothing.
	release func()
}

func (d *sshSubject) name() string { return d.key }

func (d *sshSubject) prepare(ctx context.Context, s *settings) (err error) {
	// The folder above can be read by whoever the session runs as.
	if d.text, err = makeCatText(filepath.Join(s.dir, "cat.txt"), s.seed, s.catBytes); err != nil {
		return err
	}
	return d.serve(ctx, s)
}

// serve starts the server, and waits until it lets the client in.
func (d *sshSubject) serve(ctx context.Context, s *settings) error {
	d.settings = s
	dir, err := os.MkdirTemp(s.dir, "ssh-")
	if err != nil {
		return err
	}
	if d.signer, err = newKey(filepath.Join(dir, "client_key")); err != nil {
		return err
	}
	if d.server, err = d.start(ctx, s, dir, d.signer); err != nil {
		return err
	}
	return d.server.await(ctx, func() error {
		c, err := d.dial(ctx)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func (d *sshSubject) close() {
	if d.server == nil {
		return
	}
	d.server.stop()
	if d.server.release != nil {
		d.server.release()
	}
}

func (d *sshSubject) run(ctx context.Context) (sample, error) {
	result := make(sample)
	if err := d.echo(ctx, result); err != nil {
		return nil, fmt.Errorf("echo: %w; the server's output:\n%s", err, d.server.output())
	}
	if err := d.cat(ctx, result); err != nil {
		return nil, fmt.Errorf("cat: %w; the server's output:\n%s", err, d.server.output())
	}
	return result, nil
}

// dial connects. The ciphers are fixed, so that they are the same for all servers.
func (d *sshSubject) dial(ctx context.Context) (*ssh.Client, error) {
	config := &ssh.ClientConfig{
		Config: ssh.Config{Ciphers: []string{ssh.CipherAES128GCM}},
		User:   d.server.user,
		Auth:   []ssh.AuthMethod{ssh.PublicKeys(d.signer)},
		// It was started here, on this machine, with a key that nobody else has seen.
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		Timeout:         10 * time.Second,
	}
	dialer := net.Dialer{Timeout: config.Timeout}
	if d.from != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: d.from}
	}
	conn, err := dialer.DialContext(ctx, "tcp", d.server.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, d.server.address, config)
	if err != nil {
		stop()
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// A terminalSession is a command in a terminal.
type terminalSession struct {
	client  *ssh.Client
	session *ssh.Session
	stdin   io.Writer
	stdout  io.Reader
}

// open starts a command in a terminal, and reads until it has printed begin.
func (d *sshSubject) open(ctx context.Context, command string) (_ *terminalSession, err error) {
	t := new(terminalSession)
	if t.client, err = d.dial(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.client.Close()
		}
	}()
	if t.session, err = t.client.NewSession(); err != nil {
		return nil, err
	}
	if t.stdin, err = t.session.StdinPipe(); err != nil {
		return nil, err
	}
	if t.stdout, err = t.session.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := t.session.RequestPty("xterm-256color", 40, 120, ssh.TerminalModes{}); err != nil {
		return nil, fmt.Errorf("ask for a terminal: %w", err)
	}
	if err := t.session.Start(command); err != nil {
		return nil, fmt.Errorf("start the command: %w", err)
	}
	var seen []byte
	for one := make([]byte, 1); !bytes.HasSuffix(seen, []byte(begin)); {
		if _, err := io.ReadFull(t.stdout, one); err != nil {
			return nil, fmt.Errorf("%w; what was shown:\n%s", err, seen)
		}
		seen = append(seen, one[0])
	}
	return t, nil
}

// echo types bytes, each when the one before has been shown, and counts every one back.
func (d *sshSubject) echo(ctx context.Context, into sample) error {
	if d.settings.echoes == 0 {
		return nil
	}
	t, err := d.open(ctx, "stty raw -echo; printf '"+begin+"'; exec cat")
	if err != nil {
		return err
	}
	defer t.client.Close()
	var took []time.Duration
	answer := make([]byte, 1)
	for i := range echoWarmup + d.settings.echoes {
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
			return fmt.Errorf("echo %d is %q in place of %q", i, answer, typed)
		}
	}
	slices.Sort(took)
	into[echoP50] = milliseconds(took[len(took)/2])
	into[echoP99] = milliseconds(took[len(took)*99/100])
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// cat lists the file, and counts every byte back.
func (d *sshSubject) cat(ctx context.Context, into sample) error {
	if d.settings.catBytes == 0 {
		return nil
	}
	before, err := d.server.settled(ctx)
	if err != nil {
		return err
	}
	// The terminal is as a person has it: newlines become carriage returns and newlines.
	t, err := d.open(ctx, "stty -echo; printf '"+begin+"'; read go; cat '"+d.text.file+"'")
	if err != nil {
		return err
	}
	defer t.client.Close()
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
		return fmt.Errorf("%d bytes were shown of %d, or they are not the same", shown, d.text.shown)
	}
	t.client.Close()
	after, err := d.server.settled(ctx)
	if err != nil {
		return err
	}
	into[catRate] = float64(shown) / megabyte / took.Seconds()
	into[catSeconds] = (after - before).Seconds() / (float64(shown) / (100 * megabyte))
	return nil
}

// A catText is the file that cat shows.
type catText struct {
	file  string
	shown int64  // bytes, as a terminal shows it
	sum   uint32 // of them
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// makeCatText makes the file, or reads it where it is already there.
func makeCatText(file string, seed uint64, size int64) (catText, error) {
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		f, err := os.Create(file)
		if err != nil {
			return catText{}, err
		}
		if _, _, err := writeText(f, seed, size); err != nil {
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
