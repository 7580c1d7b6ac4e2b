package main

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
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/receive"
)

const (
	demoSecret = "correct-horse-battery-staple"
	// demoPace is how fast the person in the story types.
	demoPace = 25 * time.Millisecond
	demoWait = 30 * time.Second
)

// line is what the person does: types a line once the terminal shows a prompt.
type line struct{ prompt, text string }

var demoLines = []line{
	{"$ ", `echo "Hello from an ephemeral shell: größe, 日本語 🎉"`},
	{"$ ", `ls --color=always -d /bin /etc /usr /tmp`},
	{"$ ", `read -rsp "Database password: " PW; echo`},
	{"password: ", demoSecret},
	{"$ ", `echo "connected with a password of ${#PW} characters"`},
	{"$ ", `exit`},
}

// screen shows what the person sees, and keeps it.
type screen struct {
	mu      sync.Mutex // guards what follows
	out     io.Writer
	seen    bytes.Buffer  // all of it
	read    int           // how much of it the person has answered
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

// wait waits until the terminal shows a text that was not answered yet.
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

// tell plays the session, and shows what became of it.
func (d *demo) tell(ctx context.Context) error {
	address := d.node.sshListener.Addr().String()
	d.heading("1 The person", "what Ada sees in her terminal, on "+address)
	seen, err := d.play(ctx, address)
	if err != nil {
		return err
	}
	operation, err := d.operation(ctx)
	if err != nil {
		return err
	}
	https, err := d.wait(ctx, receive.HTTPS, operation)
	if err != nil {
		return err
	}
	syslog, err := d.wait(ctx, receive.Syslog, operation)
	if err != nil {
		return err
	}
	printer := receive.NewPrinter(d.out, d.style)
	d.heading("2 The HTTPS drain", "structured JSON; the text of each record")
	for _, r := range https {
		if err := printer.Print(r); err != nil {
			return err
		}
	}
	one, err := indented(https[1].Raw)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n  %s\n%s\n", d.dim("one of them whole:"), one)
	d.heading("3 The syslog drain", "RFC 5424 over TLS: no metadata, so the operation's ID is in the line")
	for _, r := range syslog {
		if err := printer.Print(r); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.out, "\n  %s\n  %s\n", d.dim("one of them whole:"), syslog[1].Raw)
	ok := true
	if d.search != "" {
		d.heading("4 Elasticsearch", d.search)
		if ok, err = d.searched(ctx, operation, len(https)); err != nil {
			return err
		}
	}
	d.heading("Checked", "operation "+operation)
	return d.checkAll(ok, seen, https, syslog)
}

// play runs the session over SSH as an ordinary client.
func (d *demo) play(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*demoWait, errors.New("the session took too long"))
	defer cancel()
	c, err := client.Dial(ctx, client.Options{
		Address: address, User: "web", Signers: []ssh.Signer{d.key},
		// The gateway is in this process, on the loopback interface, with a key that it has just made.
		HostKey: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	screen := &screen{out: d.out, changed: make(chan struct{}, 1)}
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
	for _, l := range demoLines {
		if err := s.wait(ctx, l.prompt); err != nil {
			return err
		}
		for _, key := range l.text + "\r" {
			time.Sleep(demoPace) // a person types: this is for the eye, nothing waits for it
			if _, err := io.WriteString(keyboard, string(key)); err != nil {
				return fmt.Errorf("type: %w", err)
			}
		}
	}
	return nil
}

// operation waits for the first record, and says which operation it is of.
func (d *demo) operation(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, demoWait, errors.New("no drain has got anything"))
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

// wait waits until a drain has an operation to its end.
func (d *demo) wait(ctx context.Context, drain receive.Drain, operation string) ([]receive.Received, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, demoWait, fmt.Errorf("the %s drain has not got the whole session", drain))
	defer cancel()
	for {
		all := d.of(drain, operation)
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

// searched asks Elasticsearch for the session's records.
func (d *demo) searched(ctx context.Context, operation string, want int) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, demoWait, errors.New("the records are not in Elasticsearch"))
	defer cancel()
	for {
		n, err := countRecords(ctx, d.search, operation)
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

// checkAll holds what the drains got against what the person saw.
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
	for _, form := range []string{demoSecret, base64.StdEncoding.EncodeToString([]byte(demoSecret))} {
		leaked = leaked || bytes.Contains(raw, []byte(form)) || bytes.Contains(seen, []byte(form))
	}
	ok = d.check(!leaked, "the password that was typed at the prompt is in no drain") && ok
	document := https[1].Record.UserDocument
	ok = d.check(enrich.CheckDocument(document, time.Now()) == nil, "APTIBLE_USER_DOCUMENT says who it was, and is expired: it opens nothing") && ok
	if !ok {
		return errors.New("a check failed: run it again with --verbose")
	}
	return nil
}
