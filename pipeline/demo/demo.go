// Package demo shows what ttydrain does, in one process: a user's session over SSH, with a password
// prompt, and what local receivers get of it as drains. It checks that the drains have exactly what
// the user saw, and shows what an audit finds in a drain's copy before and after one byte of it is
// changed.
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
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/pipeline/setup"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
)

// demoConfig is the configuration of the demo, as users write it.
var demoConfig = template.Must(template.New("demo").Parse(`# The configuration of "ttydrain demo".
store: ./data
gateway: {listen: "{{.Listen}}", host_key: ./host_key}
admin: {listen: "{{.Admin}}"}
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

// Names of files in the folder of the demo.
const (
	configFile    = "ttydrain.yaml"
	sshConfigFile = "ssh_config"
	copyFile      = "siem.ndjson" // what the HTTPS drain has received
	changedFile   = "siem-changed.ndjson"
)

// Options of a demo. All but Dir and Search are needed.
type Options struct {
	// Listen and Admin are the addresses of the gateway and of the admin server; a free port is taken
	// if they are in use.
	Listen, Admin string
	// Dir is the folder for the demo's files, which is kept; "" for a temporary one.
	Dir string
	// Once ends the demo after the story. Otherwise the gateway stays up until ctx is done.
	Once bool
	// Search is the URL of an Elasticsearch that gets the session too; "" for none.
	Search string
	Out    *os.File
	// Start opens a ttydrain with all roles.
	Start func(context.Context, *config.Config, *slog.Logger) (Node, error)
	// Program is the command that runs ttydrain, for a shell, and Command runs one of its commands,
	// which prints to Out, and returns the exit status.
	Program string
	Command func(ctx context.Context, args ...string) (status int)
	Log     *slog.Logger
}

// A Node is the ttydrain of a demo.
type Node struct {
	Address, Admin net.Addr // of the gateway and of the admin server
	// Link returns a link that logs in to the console once, and the time of its expiry.
	Link func() (url string, until time.Time, err error)
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
	https    *receive.Printer // of the HTTPS drain's copy; guarded by mu

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
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	d := &demo{Options: o, style: receive.TerminalOptions(o.Out), arrived: make(chan struct{}, 1)}
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return err
	}
	received, err := os.OpenFile(d.path(copyFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer received.Close() // each record is written at once
	d.https = receive.NewPrinter(received, receive.PrinterOptions{JSON: true})
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
		operation, err := d.story(running)
		if err == nil && !d.Once {
			if err = d.leaveUp(operation); err == nil {
				<-running.Done()
			}
		}
		return err
	})
	err = g.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // Ctrl-C is how a demo ends
	}
	return err
}

// path returns the path of a file of the demo.
func (d *demo) path(name string) string { return filepath.Join(d.Dir, name) }

// open opens the receiver and the node.
func (d *demo) open(ctx context.Context) error {
	if err := d.makeKey(); err != nil {
		return err
	}
	var err error
	d.receiver, err = receive.New(receive.Options{
		HTTPS: "127.0.0.1:0", Syslog: "127.0.0.1:0", Dir: d.path("receiver"), Handle: d.handle, Logger: d.Log,
	})
	if err != nil {
		return err
	}
	if err := d.writeConfig(unlessTaken(d.Listen), unlessTaken(d.Admin)); err != nil {
		return err
	}
	c, err := config.Load(d.path(configFile))
	if err != nil {
		return err
	}
	if d.node, err = d.Start(ctx, c, d.Log); err != nil {
		return err
	}
	// For the commands that use the configuration, now with the ports that were chosen.
	return errors.Join(d.writeConfig(d.node.Address.String(), d.node.Admin.String()), d.writeSSHConfig())
}

// unlessTaken returns an address at which nothing listens: the given one, or one with a port that
// the kernel chooses.
func unlessTaken(address string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "127.0.0.1:0"
	}
	l.Close()
	return address
}

func (d *demo) writeConfig(listen, admin string) error {
	shell := "/bin/bash, --norc, --noprofile"
	if _, err := exec.LookPath("/bin/bash"); err != nil {
		shell = "/bin/sh"
	}
	var text bytes.Buffer
	if err := demoConfig.Execute(&text, map[string]string{
		"Listen": listen, "Admin": admin, "Shell": shell, "HTTPS": d.receiver.HTTPSAddr().String(), "Syslog": d.receiver.SyslogAddr().String(),
		"CA": d.receiver.CAFile(), "Elasticsearch": d.Search,
	}); err != nil {
		return err
	}
	return os.WriteFile(d.path(configFile), text.Bytes(), 0o600)
}

// writeSSHConfig writes the configuration of OpenSSH's client for the gateway.
func (d *demo) writeSSHConfig() error {
	text, err := setup.ClientConfig{
		App: "web", Address: d.node.Address.String(), Identity: d.path("ada"), KnownHosts: d.path("known_hosts"), AcceptNew: true,
	}.Text()
	if err != nil {
		return err
	}
	return os.WriteFile(d.path(sshConfigFile), text, 0o600)
}

// makeKey makes the key of the user in the story, or reads that of an earlier demo.
func (d *demo) makeKey() error {
	path := d.path("ada")
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
	if r.Drain == receive.HTTPS {
		d.https.Print(r) // an audit finds what could not be written
	}
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

// leaveUp prints the commands that can be used with the demo, and from then on the records that are
// received.
func (d *demo) leaveUp(operation string) error {
	link, until, err := d.node.Link()
	if err != nil {
		return err
	}
	d.heading("Now you", "everything is up until Ctrl-C; what you see in a session appears below")
	configuration := " -c " + setup.ShellQuote(d.path(configFile))
	d.commands("Open a session:", "ssh -F "+setup.ShellQuote(d.path(sshConfigFile))+" web")
	d.commands("See what was recorded and delivered, replay it, and prove that the copy of the HTTPS drain is complete and unchanged:",
		d.Program+" sessions list --all"+configuration, d.Program+" drains list"+configuration, d.Program+" replay "+operation+configuration,
		d.Program+" audit --from "+setup.ShellQuote(d.path(copyFile))+configuration)
	d.commands("Log in to the console, once, until "+timeflag.Format(until)+":", link)
	d.commands("Get another link:", d.Program+" console"+configuration)
	fmt.Fprintf(d.Out, "  %s\n\n", d.dim("The admin server (console, metrics, API) is at http://"+d.node.Admin.String()+"/, and the files are in "+d.Dir+"."))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live = receive.NewPrinter(d.Out, d.style)
	return nil
}

// commands prints commands to copy.
func (d *demo) commands(about string, commands ...string) {
	fmt.Fprintf(d.Out, "  %s\n\n    %s\n\n", d.dim(about), strings.Join(commands, "\n    "))
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
