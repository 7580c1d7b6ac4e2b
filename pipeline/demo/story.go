package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/pipeline/setup"
)

const (
	secret = "correct-horse-battery-staple"
	// keystroke is the time between two keys that the user types.
	keystroke = 25 * time.Millisecond
	// patience bounds every wait.
	patience = 30 * time.Second
)

// A line is typed by the user once the terminal shows the prompt.
type line struct{ prompt, text string }

var lines = []line{
	{"$ ", `echo "Hello from an ephemeral shell: größe, 日本語 🎉"`},
	{"$ ", `ls --color=always -d /bin /etc /usr /tmp`},
	{"$ ", `read -rsp "Database password: " PW; echo`},
	{"password: ", secret},
	{"$ ", `echo "connected with a password of ${#PW} characters"`},
	{"$ ", `exit`},
}

// A screen shows what the user sees, and keeps it.
type screen struct {
	mu      sync.Mutex // guards what follows
	out     io.Writer
	seen    bytes.Buffer
	read    int           // bytes of seen that the user has answered
	changed chan struct{} // of cap 1
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Write(p)
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return s.out.Write(p)
}

// wait blocks until the terminal shows a text after the part that the user has answered.
func (s *screen) wait(ctx context.Context, text string) error {
	for {
		s.mu.Lock()
		i := bytes.Index(s.seen.Bytes()[s.read:], []byte(text))
		if i >= 0 {
			s.read = s.seen.Len()
		}
		s.mu.Unlock()
		if i >= 0 {
			return nil
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %q on the terminal: %w", text, context.Cause(ctx))
		}
	}
}

// story plays the session, and shows what the drains got of it. It returns the session's ID.
func (d *demo) story(ctx context.Context) (operation string, err error) {
	address := d.node.Address.String()
	d.heading("1 The user", "what Ada sees in her terminal, on "+address)
	seen, err := d.play(ctx, address)
	if err != nil {
		return "", err
	}
	operation, err = d.operation(ctx)
	if err != nil {
		return "", err
	}
	https, err := d.wait(ctx, receive.HTTPS, operation)
	if err != nil {
		return "", err
	}
	syslog, err := d.wait(ctx, receive.Syslog, operation)
	if err != nil {
		return "", err
	}
	printer := receive.NewPrinter(d.Out, d.style)
	d.heading("2 The HTTPS drain", "structured JSON; the text of each record")
	for _, r := range https {
		if err := printer.Print(r); err != nil {
			return "", err
		}
	}
	one, err := indented(https[1].Raw)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(d.Out, "\n  %s\n%s\n", d.dim("one of them whole:"), one)
	d.heading("3 The syslog drain", "RFC 5424 over TLS: no metadata, so the operation's ID is in the line")
	for _, r := range syslog {
		if err := printer.Print(r); err != nil {
			return "", err
		}
	}
	fmt.Fprintf(d.Out, "\n  %s\n  %s\n", d.dim("one of them whole:"), syslog[1].Raw)
	ok := true
	if d.Search != "" {
		d.heading("4 Elasticsearch", d.Search)
		if ok, err = d.searched(ctx, operation, len(https)); err != nil {
			return "", err
		}
	}
	d.heading("Checked", "operation "+operation)
	if err := d.checkAll(ok, seen, https, syslog); err != nil {
		return "", err
	}
	return operation, d.audit(ctx, operation)
}

// play runs the session over SSH as an ordinary client.
func (d *demo) play(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*patience, errors.New("the session took too long"))
	defer cancel()
	c, err := client.Dial(ctx, client.Options{
		Address: address, User: "web", Signers: []ssh.Signer{d.key},
		// The gateway is in this process, and has just made its key.
		HostKey: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	screen := &screen{out: d.Out, changed: make(chan struct{}, 1)}
	keyboard, typed := io.Pipe()
	defer keyboard.Close()
	typing := make(chan error, 1)
	go func() { // ends when all is typed, or with ctx, or when the session has closed the keyboard
		defer typed.Close()
		typing <- d.typeLines(ctx, screen, typed)
	}()
	_, err = c.Run(ctx, client.Session{
		Terminal: &client.Terminal{Name: "xterm-256color", Size: client.Size{Width: 100, Height: 30}},
		Stdin:    keyboard, Stdout: screen, Stderr: screen,
	})
	if err != nil {
		return nil, err
	}
	keyboard.Close()
	if err := <-typing; err != nil {
		return nil, err
	}
	return screen.seen.Bytes(), nil
}

func (d *demo) typeLines(ctx context.Context, s *screen, keyboard io.Writer) error {
	for _, l := range lines {
		if err := s.wait(ctx, l.prompt); err != nil {
			return err
		}
		for _, key := range l.text + "\r" {
			time.Sleep(keystroke) // for the eye: nothing depends on it
			if _, err := io.WriteString(keyboard, string(key)); err != nil {
				return fmt.Errorf("type: %w", err)
			}
		}
	}
	return nil
}

// operation waits for the first record, and returns the ID of its operation.
func (d *demo) operation(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("no drain has received anything"))
	defer cancel()
	for {
		d.mu.Lock()
		for _, r := range d.received {
			if r.Record.OperationID != "" {
				d.mu.Unlock()
				return r.Record.OperationID, nil
			}
		}
		d.mu.Unlock()
		select {
		case <-d.arrived:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// wait blocks until a drain has an operation to its end, and returns its records.
func (d *demo) wait(ctx context.Context, drain receive.Drain, operation string) ([]receive.Received, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the %s drain has not received the whole session", drain))
	defer cancel()
	for {
		all := d.receivedBy(drain, operation)
		if n := len(all); n > 1 && all[n-1].Record.Event == "end" {
			return all, nil
		}
		select {
		case <-d.arrived:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// searched checks that Elasticsearch has the session's records.
func (d *demo) searched(ctx context.Context, operation string, want int) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the records are not in Elasticsearch"))
	defer cancel()
	for {
		n, err := countRecords(ctx, d.Search, operation)
		if err == nil && n >= want {
			return d.check(n == want, fmt.Sprintf("%d records in the data stream logs-ssh-demo, each once", n)), nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return false, errors.Join(context.Cause(ctx), err)
		}
	}
}

func countRecords(ctx context.Context, url, operation string) (int, error) {
	for _, path := range []string{"/_refresh", "/_count?q=operation_id:" + operation} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/logs-ssh-demo"+path, nil)
		if err != nil {
			return 0, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("the answer of Elasticsearch is %s", response.Status)
		}
		if path != "/_refresh" {
			var answer struct{ Count int }
			err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&answer)
			return answer.Count, err
		}
	}
	return 0, nil
}

// checkAll compares what the drains received with what the user saw.
func (d *demo) checkAll(ok bool, seen []byte, https, syslog []receive.Received) error {
	var exact, raw []byte
	for _, r := range https {
		if r.Record.Event == "output" {
			exact = append(exact, r.Record.Exact()...)
		}
		raw = append(raw, r.Raw...)
	}
	digest := sha256.Sum256(exact)
	ok = d.check(bytes.Equal(exact, seen), fmt.Sprintf("the HTTPS drain has exactly the %d bytes that were on the screen (SHA-256 %x…)",
		len(seen), digest[:6])) && ok
	named := true
	for _, r := range syslog {
		raw = append(raw, r.Raw...)
		named = named && bytes.Contains(r.Raw, []byte("operation_id="+r.Record.OperationID+" "))
	}
	ok = d.check(len(syslog) == len(https) && named, fmt.Sprintf("the syslog drain has the same %d records, each line with the operation's ID", len(syslog))) && ok
	leaked := false
	for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
		leaked = leaked || bytes.Contains(raw, []byte(form)) || bytes.Contains(seen, []byte(form))
	}
	ok = d.check(!leaked, "the password that was typed at the prompt is in no drain") && ok
	document := https[1].Record.UserDocument
	ok = d.check(enrich.CheckDocument(document, time.Now()) == nil, "APTIBLE_USER_DOCUMENT names the user, and is expired: it grants nothing") && ok
	if !ok {
		return errCheck
	}
	return nil
}

// audit shows the audit of the HTTPS drain's copy, and of one in which a byte is changed.
func (d *demo) audit(ctx context.Context, operation string) error {
	d.heading("Audited", "the HTTPS drain's own copy of the session, against its signed end")
	ok := d.check(d.auditCopy(ctx, operation, copyFile) == 0, "the copy is complete and unchanged")
	data, err := os.ReadFile(d.path(copyFile))
	if err != nil {
		return err
	}
	at := bytes.LastIndex(data, []byte("connected with")) // on the screen, and not in the command
	if at < 0 {
		return errors.New("the copy of the HTTPS drain does not have the text of the session")
	}
	before := data[at]
	data[at] ^= 1
	if err := os.WriteFile(d.path(changedFile), data, 0o600); err != nil {
		return err
	}
	d.heading("One byte changed", fmt.Sprintf("at %d, from %q to %q", at, before, data[at]))
	if !d.check(d.auditCopy(ctx, operation, changedFile) == 1, "the audit names the record in which one byte was changed") || !ok {
		return errCheck
	}
	return nil
}

// auditCopy runs an audit of a copy, and returns its exit status.
func (d *demo) auditCopy(ctx context.Context, operation, name string) (status int) {
	args := []string{"audit", "--operation", operation, "--from", d.path(name), "-c", d.path(configFile)}
	line := d.Program
	for _, arg := range args {
		line += " " + setup.ShellQuote(arg)
	}
	fmt.Fprintf(d.Out, "  %s\n\n", d.dim("$ "+line))
	defer fmt.Fprintln(d.Out)
	return d.Command(ctx, args...)
}

// errCheck is the error of a failed check.
var errCheck = errors.New("a check failed: run it again with --verbose")
