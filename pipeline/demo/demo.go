// Package demo shows what ttydrain does, in one process: a user's session over SSH, with a password
// prompt, and what local receivers get of it as drains. It checks that the drains have exactly what
// the user saw.
package demo

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"text/template"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/receive"
)

// demoConfig is the configuration of the demo, as users write it.
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

// Options of a demo. All but Dir and Search are needed.
type Options struct {
	// Listen is the address of the gateway; a free port is taken if it is in use.
	Listen string
	// Dir is the folder for the demo's files, which is kept; "" for a temporary one.
	Dir string
	// Once ends the demo after the story. Otherwise the gateway stays up until ctx is done.
	Once bool
	// Search is the URL of an Elasticsearch that gets the session too; "" for none.
	Search string
	Out    *os.File
	// Start opens a ttydrain with all roles.
	Start func(context.Context, *config.Config, *slog.Logger) (Node, error)
	Log   *slog.Logger
}

// A Node is the ttydrain of a demo.
type Node struct {
	Address net.Addr // of the gateway
	// Run runs it until ctx is done and everything is delivered.
	Run func(ctx context.Context) error
}

// A demo is one run: a ttydrain with receivers for its drains.
type demo struct {
	Options
	key      ssh.Signer // of the user in the story
	receiver *receive.Receiver
	node     Node
	style    receive.PrinterOptions

	mu       sync.Mutex         // guards what follows
	received []receive.Received // until live is set
	live     *receive.Printer   // prints the records that arrive after the story
	arrived  chan struct{}      // of cap 1: something was received
}

// Run runs a demo. The error is that of a failed check, or of a part that failed.
func Run(ctx context.Context, o Options) (err error) {
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "ttydrain-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.Dir)
	}
	d := &demo{Options: o, style: receive.TerminalOptions(o.Out), arrived: make(chan struct{}, 1)}
	if err := d.open(ctx); err != nil {
		return err
	}
	// The story stops the node and the receiver at its end, and they stop it when they fail.
	var g *errgroup.Group
	running, stop := context.WithCancel(ctx)
	defer stop()
	g, running = errgroup.WithContext(running)
	receiving, stopReceiving := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReceiving()
	g.Go(func() error { // the receiver runs until the node has delivered everything
		defer stopReceiving()
		return d.node.Run(running)
	})
	g.Go(func() error { return d.receiver.Serve(receiving) })
	g.Go(func() error {
		defer stop()
		err := d.story(running)
		if err == nil && !d.Once {
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

// open opens the receiver and the node.
func (d *demo) open(ctx context.Context) error {
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return err
	}
	if err := d.makeKey(); err != nil {
		return err
	}
	var err error
	d.receiver, err = receive.New(receive.Options{
		HTTPS: "127.0.0.1:0", Syslog: "127.0.0.1:0", Dir: filepath.Join(d.Dir, "receiver"), Handle: d.handle, Logger: d.Log,
	})
	if err != nil {
		return err
	}
	listen := d.Listen
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
		"CA": d.receiver.CAFile(), "Elasticsearch": d.Search,
	}); err != nil {
		return err
	}
	path := filepath.Join(d.Dir, "ttydrain.yaml")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return err
	}
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	d.node, err = d.Start(ctx, c, d.Log)
	return err
}

// makeKey makes the key of the user in the story, or reads that of an earlier demo.
func (d *demo) makeKey() error {
	path := filepath.Join(d.Dir, "ada")
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

// handle is called with what the receiver gets.
func (d *demo) handle(r receive.Received) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live != nil {
		d.live.Print(r) // the demo goes on without a terminal
		return
	}
	d.received = append(d.received, r)
	select {
	case d.arrived <- struct{}{}:
	default:
	}
}

// receivedBy returns what a drain has received so far of an operation, in order and without
// repeats.
func (d *demo) receivedBy(drain receive.Drain, operation string) []receive.Received {
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

// leaveUp prints how to open another session, and from then on the records that are received.
func (d *demo) leaveUp() {
	host, port, err := net.SplitHostPort(d.node.Address.String())
	if err != nil {
		return
	}
	d.heading("Now you", "the gateway is up until Ctrl-C; what you see in a session appears below")
	fmt.Fprintf(d.Out, "  ssh -p %s -i %s -o UserKnownHostsFile=%s -o StrictHostKeyChecking=accept-new web@%s\n",
		port, filepath.Join(d.Dir, "ada"), filepath.Join(d.Dir, "known_hosts"), host)
	fmt.Fprintf(d.Out, "  %s\n\n", d.dim("its configuration: "+filepath.Join(d.Dir, "ttydrain.yaml")))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live = receive.NewPrinter(d.Out, d.style)
}

func (d *demo) heading(title, about string) {
	if d.style.Color {
		fmt.Fprintf(d.Out, "\n\x1b[1;7m %s \x1b[0m \x1b[2m%s\x1b[0m\n\n", title, about)
		return
	}
	fmt.Fprintf(d.Out, "\n== %s: %s\n\n", title, about)
}

func (d *demo) dim(s string) string {
	if d.style.Color {
		return "\x1b[2m" + s + "\x1b[0m"
	}
	return s
}

// check prints a check and its result, which it returns.
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
	fmt.Fprintf(d.Out, "  %s %s\n", mark, what)
	return ok
}

// indented returns a JSON object for people, with long strings cut.
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
