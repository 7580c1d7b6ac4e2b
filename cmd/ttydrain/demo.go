package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"text/template"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/receive"
)

// demoConfig is the configuration of the demo, as a person would write it.
var demoConfig = template.Must(template.New("demo").Parse(`# The configuration of "ttydrain demo".
store: ./data
gateway: {listen: "{{.Listen}}", host_key: ./host_key}
admin: {listen: "127.0.0.1:0"}
user_document: {issuer: https://auth.example.com, signing_key: ./document_key.pem}
users:
  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}
stacks:
  - {name: default, plan: growth}
apps:
  - name: web
    stack: default
    command: [{{.Shell}}]
    env: {PS1: '\[\e[1;32m\]web\[\e[0m\]:\w$ ', LANG: C.UTF-8, RAILS_ENV: production}
drains:
  - {name: siem, type: https, url: "https://{{.HTTPS}}/logs", ca_file: "{{.CA}}", format: ndjson}
  - {name: audit, type: syslog, address: "{{.Syslog}}", ca_file: "{{.CA}}"}
{{- if .Elasticsearch}}
  - {name: search, type: elasticsearch, urls: ["{{.Elasticsearch}}"], data_stream: logs-ssh-demo}
{{- end}}
`))

// demo is a whole ttydrain with receivers for its drains, in a folder of its own.
type demo struct {
	dir      string
	key      ssh.Signer
	receiver *receive.Receiver
	node     *node
	search   string // URL of Elasticsearch, or ""
	out      io.Writer
	style    receive.PrinterOptions

	mu       sync.Mutex         // guards what follows
	received []receive.Received // until live
	live     *receive.Printer   // prints what comes, once the story is told
	arrived  chan struct{}      // of cap 1: something was received
}

func newDemoCommand() *cobra.Command {
	var listen, keep string
	var once, verbose bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show a session on its way to an HTTPS and a syslog drain, then leave the gateway up",
		Long: "Runs all of ttydrain in this process: a real session over SSH, with a password prompt, into a local\n" +
			"HTTPS and a local syslog receiver (and Elasticsearch where ELASTICSEARCH_URL is set). Shows what the\n" +
			"person saw and what each drain got, then leaves the gateway up to try.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			level := slog.LevelError
			if verbose {
				level = slog.LevelDebug
			}
			return runDemo(c.Context(), listen, keep, once, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
		},
	}
	f := c.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:2222", "`ADDRESS` of the gateway; a free port where it is taken")
	f.StringVar(&keep, "dir", "", "`FOLDER` for its files, which is kept (default: a temporary one)")
	f.BoolVar(&once, "once", false, "exit after the story, with 1 if a check failed")
	f.BoolVar(&verbose, "verbose", false, "log what ttydrain does")
	return c
}

func runDemo(ctx context.Context, listen, dir string, once bool, log *slog.Logger) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "ttydrain-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	d := &demo{dir: dir, out: os.Stdout, style: receive.TerminalOptions(os.Stdout), arrived: make(chan struct{}, 1),
		search: os.Getenv("ELASTICSEARCH_URL")}
	if err := d.open(ctx, listen, log); err != nil {
		return err
	}
	// The story ends the node and the receiver when it is over, and they end it when they fail.
	var g *errgroup.Group
	running, stop := context.WithCancel(ctx)
	defer stop()
	g, running = errgroup.WithContext(running)
	receiving, stopReceiving := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReceiving()
	g.Go(func() error { // the receiver stays until the node has delivered the last of it
		defer stopReceiving()
		return d.node.run(running)
	})
	g.Go(func() error { return d.receiver.Serve(receiving) })
	g.Go(func() error {
		defer stop()
		err := d.tell(running)
		if err == nil && !once {
			d.leaveUp()
			<-running.Done()
		}
		return err
	})
	err = g.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // Ctrl-C is how a demo ends
	}
	return err
}

// open makes everything that the demo runs.
func (d *demo) open(ctx context.Context, listen string, log *slog.Logger) error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	if err := d.makeKey(); err != nil {
		return err
	}
	var err error
	d.receiver, err = receive.New(receive.Options{
		HTTPS: "127.0.0.1:0", Syslog: "127.0.0.1:0", Dir: filepath.Join(d.dir, "receiver"), Handle: d.handle, Logger: log,
	})
	if err != nil {
		return err
	}
	if l, err := net.Listen("tcp", listen); err != nil {
		listen = "127.0.0.1:0"
	} else {
		l.Close()
	}
	shell := "/bin/bash, --norc, --noprofile"
	if _, err := exec.LookPath("/bin/bash"); err != nil {
		shell = "/bin/sh"
	}
	var text bytes.Buffer
	if err := demoConfig.Execute(&text, map[string]string{
		"Listen": listen, "Shell": shell, "HTTPS": d.receiver.HTTPSAddr().String(), "Syslog": d.receiver.SyslogAddr().String(),
		"CA": d.receiver.CAFile(), "Elasticsearch": d.search,
	}); err != nil {
		return err
	}
	path := filepath.Join(d.dir, "ttydrain.yaml")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return err
	}
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	d.node, err = newNode(ctx, c, roles{true, true, true}, log)
	return err
}

// makeKey makes the key of the person in the story.
func (d *demo) makeKey() error {
	path := filepath.Join(d.dir, "ada")
	if data, err := os.ReadFile(path); err == nil {
		d.key, err = ssh.ParsePrivateKey(data)
		return err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "ttydrain demo")
	if err != nil {
		return err
	}
	if d.key, err = ssh.NewSignerFromKey(private); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path, pem.EncodeToMemory(block), 0o600),
		os.WriteFile(path+".pub", ssh.MarshalAuthorizedKey(d.key.PublicKey()), 0o600))
}

// handle takes what a receiver got.
func (d *demo) handle(r receive.Received) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live != nil {
		d.live.Print(r) // a terminal that is gone is no reason to stop
		return
	}
	d.received = append(d.received, r)
	select {
	case d.arrived <- struct{}{}:
	default:
	}
}

// of gives what one drain has got so far of an operation, in its order and without repeats.
func (d *demo) of(drain receive.Drain, operation string) []receive.Received {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []receive.Received
	for _, r := range d.received {
		if r.Drain == drain && r.Record.OperationID == operation && r.Record.Sequence == uint64(len(all)+1) {
			all = append(all, r)
		}
	}
	return all
}

// leaveUp tells how to go on by hand.
func (d *demo) leaveUp() {
	host, port, err := net.SplitHostPort(d.node.sshListener.Addr().String())
	if err != nil {
		return
	}
	d.heading("Now you", "the gateway is up until Ctrl-C; what you see in a session appears below")
	fmt.Fprintf(d.out, "  ssh -p %s -i %s -o UserKnownHostsFile=%s -o StrictHostKeyChecking=accept-new web@%s\n",
		port, filepath.Join(d.dir, "ada"), filepath.Join(d.dir, "known_hosts"), host)
	fmt.Fprintf(d.out, "  %s\n\n", d.dim("its configuration: "+filepath.Join(d.dir, "ttydrain.yaml")))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live = receive.NewPrinter(d.out, d.style)
}

func (d *demo) heading(title, about string) {
	if d.style.Color {
		fmt.Fprintf(d.out, "\n\x1b[1;7m %s \x1b[0m \x1b[2m%s\x1b[0m\n\n", title, about)
		return
	}
	fmt.Fprintf(d.out, "\n== %s: %s\n\n", title, about)
}

func (d *demo) dim(s string) string {
	if d.style.Color {
		return "\x1b[2m" + s + "\x1b[0m"
	}
	return s
}

// check tells whether something holds.
func (d *demo) check(ok bool, what string) bool {
	mark := "ok    "
	if !ok {
		mark = "FAILED"
	}
	if d.style.Color {
		mark = "\x1b[1;32m✓\x1b[0m"
		if !ok {
			mark = "\x1b[1;31m✗\x1b[0m"
		}
	}
	fmt.Fprintf(d.out, "  %s %s\n", mark, what)
	return ok
}

// indented is a JSON object for people, with long strings cut.
func indented(raw []byte) (string, error) {
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "  ", "  "); err != nil {
		return "", err
	}
	lines := strings.Split(out.String(), "\n")
	for i, line := range lines {
		if r := []rune(line); len(r) > 100 {
			lines[i] = string(r[:97]) + "…"
		}
	}
	return "  " + strings.Join(lines, "\n"), nil
}
