package gateway

import (
	"context"
	"errors"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// Exit statuses of sessions that did not run.
const (
	statusRefused   = 255 // refused or failed; OpenSSH's client also uses 255 for its own errors
	statusSubsystem = 1   // unsupported kind of session
)

// shownTimeout is the time to wait for a client to confirm that it has received the message about a
// refused request, before refusing the request.
const shownTimeout = 2 * time.Second

// channel is one "session" channel (RFC 4254 §6): requests that prepare a session, one that starts
// a program, and then the program's input and output. Its fields belong to the goroutine of serve.
type channel struct {
	conn     *connection
	ssh      ssh.Channel
	requests <-chan *ssh.Request
	log      *slog.Logger

	// Requested settings. A started session has copies.
	terminal *session.Terminal
	env      []string
	token    string // a live access token: only passed to the Authorizer, once
	notices  []string

	started bool           // no program can be started any more
	program sync.WaitGroup // goroutines of this channel other than serve

	resize       chan session.Size // holds only the latest size; only serve sends
	signals      chan string       // excess signals are dropped; only serve sends
	outputClosed chan struct{}     // closed by serve: see closeOutput
}

func newChannel(c *connection, ch ssh.Channel, requests <-chan *ssh.Request, notices []string) *channel {
	return &channel{
		conn: c, ssh: ch, requests: requests, log: c.log, notices: notices,
		resize:       make(chan session.Size, 1),
		signals:      make(chan string, 8),
		outputClosed: make(chan struct{}),
	}
}

// serve answers the channel's requests until the client has closed the channel, or confirmed that
// the gateway did, and waits for the session.
func (c *channel) serve(ctx context.Context) {
	stop := ctx.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer c.program.Wait()
	defer cancel(session.ErrDisconnected)
	unused := time.NewTimer(c.conn.gateway.limits().UnusedConnectionTimeout)
	defer unused.Stop()
	for {
		select {
		case <-unused.C:
			c.endUnstarted("this session was closed: nothing was started in it")
		case req, ok := <-c.requests:
			if !ok {
				return
			}
			// Reply does nothing if the client wants no reply, and only fails when the client is
			// gone.
			c.handle(ctx, req)
		case <-stop:
			stop = nil
			if c.endUnstarted(stopping) {
				c.conn.gateway.options.Metrics.Refuse(session.RefusedStopping)
			}
		}
	}
}

// endUnstarted ends a channel on which no program was started, and reports whether that is the
// case.
func (c *channel) endUnstarted(sentence string) bool {
	if c.started {
		return false
	}
	c.started = true
	c.program.Go(func() { // like all of these goroutines, ends with the channel at the latest
		c.say(sentence)
		c.end(session.Exit{Status: statusRefused})
	})
	return true
}

// handle answers one request, in the order of arrival. It never waits for the client to read,
// because the connection only continues reading when its requests are consumed.
func (c *channel) handle(ctx context.Context, req *ssh.Request) {
	switch req.Type {
	case "shell":
		c.start(ctx, req, "", false)
		return
	case "exec":
		command, err := parseExec(req.Payload)
		switch {
		case err != nil:
			c.refuse(req, "the command line is malformed")
		case len(command) > maxCommand:
			c.refuse(req, "the command line is too long: put it into a file, or send it as input to a shell")
		default:
			c.exec(ctx, req, command)
		}
		return
	case "subsystem":
		name, err := parseSubsystem(req.Payload)
		if err == nil && name == sftp {
			c.startTransfer(ctx, req, sftp)
			return
		}
		c.refuseTransfer(req, name)
		return
	}
	var err error
	switch req.Type {
	case "pty-req":
		err = c.setTerminal(req.Payload)
	case "window-change":
		err = c.setSize(req.Payload)
	case "env":
		err = c.setEnv(req.Payload)
	case "signal":
		err = c.signal(req.Payload)
	case "eow@openssh.com":
		c.closeOutput()
	case "auth-agent-req@openssh.com":
		err = c.forgo(noAgent)
	case "x11-req":
		err = c.forgo(noX11)
	default:
		err = errUnknown
	}
	if err != nil {
		// Names and payloads of requests are untrusted: neither is logged.
		c.log.Debug("request refused", "error", err)
	}
	req.Reply(err == nil, nil)
}

// Reasons for a failure reply.
var (
	errUnknown = errors.New("unknown request")
	errLate    = errors.New("the session has started")
	errNoPTY   = errors.New("the session has no terminal")
	errEnv     = errors.New("variable not accepted")
	errBusy    = errors.New("the session has too many pending signals")
	errNoTTY   = errors.New("the certificate permits no terminal")
)

func (c *channel) setTerminal(payload []byte) error {
	if c.started {
		return errLate
	}
	if c.conn.who.grant.NoTerminal {
		return errNoTTY
	}
	terminal, err := parsePTY(payload)
	if err != nil {
		return err
	}
	c.terminal = terminal
	return nil
}

func (c *channel) setSize(payload []byte) error {
	if c.terminal == nil {
		return errNoPTY
	}
	size, err := parseWindow(payload, c.terminal.Size)
	if err != nil {
		return err
	}
	c.terminal.Size = size
	if !c.started {
		return nil
	}
	select {
	case <-c.resize: // an older size is obsolete
	default:
	}
	c.resize <- size // does not block: there is no other sender
	return nil
}

func (c *channel) setEnv(payload []byte) error {
	if c.started {
		return errLate
	}
	name, value, err := parseEnv(payload)
	if err != nil {
		return err
	}
	if name == accessTokenVar {
		c.token = value
		return nil
	}
	if strings.HasPrefix(name, platformVars) || len(c.env) >= maxEnv || !accepts(c.conn.gateway.options.AcceptEnv, name) {
		return errEnv
	}
	c.env = append(c.env, name+"="+value)
	return nil
}

func accepts(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

func (c *channel) signal(payload []byte) error {
	name, err := parseSignal(payload)
	if err != nil {
		return err
	}
	select {
	case c.signals <- name:
		return nil
	default:
		return errBusy
	}
}

// closeOutput notifies the session that the client no longer reads output, because its own output
// was closed, as by "| head". OpenSSH's client reports it to servers whose version begins with
// OpenSSH.
func (c *channel) closeOutput() {
	select {
	case <-c.outputClosed: // already reported
	default:
		close(c.outputClosed)
	}
}

// forgo refuses an optional feature, which the banner will mention.
func (c *channel) forgo(sentence string) error {
	c.conn.logRefusal("reason", sentence)
	if !c.started {
		c.notices = notice(c.notices, sentence)
	}
	return errors.New(sentence)
}

// start starts the session in a goroutine that ends with the session.
func (c *channel) start(ctx context.Context, req *ssh.Request, command string, transfer bool) {
	if c.started {
		req.Reply(false, nil)
		return
	}
	if ctx.Err() != nil {
		c.conn.gateway.options.Metrics.Refuse(session.RefusedStopping)
		c.refuse(req, stopping)
		return
	}
	c.started = true
	req.Reply(true, nil)

	request := session.Request{
		App: c.conn.who.App, Command: command, Transfer: transfer, Env: c.env, Notices: c.notices,
	}
	token := c.token
	c.token = ""
	io := session.IO{Stdin: c.ssh, Stdout: c.ssh, Stderr: c.ssh.Stderr(), Signals: c.signals, OutputClosed: c.outputClosed}
	if c.terminal != nil {
		terminal := *c.terminal // the size in c keeps changing
		request.Terminal = &terminal
		io.Resize = c.resize
	}
	if request.App == NoApp {
		c.program.Go(func() { c.listApps(ctx, command, token) })
		return
	}
	c.program.Go(func() {
		if c.admit(ctx, &request, token) {
			c.run(ctx, request, io)
		}
	})
}

// listApps writes the apps that the user may open to standard output, one per line; or to standard
// error if the user requested a command.
func (c *channel) listApps(ctx context.Context, command, token string) {
	var apps []string
	message := "you may not open any app any more with the key that you logged in with"
	for _, app := range c.conn.gateway.options.Authorizer.Apps() {
		login := c.conn.who.Login
		login.App = app
		grant, err := c.conn.gateway.options.Authorizer.Admit(ctx, login, token)
		if err == nil && grant.User.ID == c.conn.who.grant.User.ID {
			apps = append(apps, app)
		}
		if refusal, ok := errors.AsType[*session.Refusal](err); ok {
			message = refusal.Message
		}
	}
	status := statusRefused
	switch {
	case len(apps) == 0:
		c.say(message)
	case command != "":
		c.say("nothing was run: log in as one of your apps, instead of " + NoApp + ":\n" + strings.Join(apps, "\n"))
	default:
		end := "\n"
		if c.terminal != nil {
			end = "\r\n"
		}
		c.ssh.Write([]byte(strings.Join(apps, end) + end)) // only fails when the client is gone
		status = 0
	}
	c.log.Info("apps listed", "apps", len(apps))
	c.end(session.Exit{Status: status})
}

// admit asks the Authorizer whether the session may start, and notifies the user if not. A
// connection can open sessions long after its login: by then the key may be removed or assigned to
// another user. The session uses the current data of the user.
func (c *channel) admit(ctx context.Context, request *session.Request, token string) bool {
	grant, err := c.conn.gateway.options.Authorizer.Admit(ctx, c.conn.who.Login, token)
	if err == nil && grant.User.ID != c.conn.who.grant.User.ID {
		err = errors.New("the key now belongs to another user")
	}
	if err != nil {
		message := "you may not open this app any more with the key that you logged in with"
		if refusal, ok := errors.AsType[*session.Refusal](err); ok {
			message = refusal.Message
		}
		c.conn.logRefusal("session", c.conn.who.App, "reason", cut(err.Error()))
		c.conn.gateway.options.Metrics.Refuse(session.RefusedDenied)
		c.say(message)
		c.end(session.Exit{Status: statusRefused})
		return false
	}
	request.User, request.Origin = grant.User, c.conn.origin
	if grant.Token {
		request.Origin = withToken(request.Origin)
	}
	if request.Transfer && !grant.mayTransfer() {
		c.say(noSubsystem)
		c.end(session.Exit{Status: statusRefused})
		return false
	}
	if grant.ForceCommand != nil {
		if request.Command != "" {
			request.Env = append(request.Env, "SSH_ORIGINAL_COMMAND="+request.Command)
		}
		request.Command = *grant.ForceCommand
	}
	return true
}

// run runs the session and reports its exit to the client. The session manager logs the start and
// the end, with the reference of the connection.
func (c *channel) run(ctx context.Context, request session.Request, io session.IO) {
	request.Connection = c.conn.reference
	exit, err := c.conn.gateway.options.Sessions.Run(ctx, request, io)
	refusal, refused := errors.AsType[*session.Refusal](err)
	switch {
	case err == nil:
	case refused:
		// The message is for the user; it may name things that others should not read.
		c.log.Info("session refused")
		c.say(refusal.Message)
	case errors.Is(err, session.ErrDisconnected):
		c.log.Debug("client disconnected before its session could start or end", "error", err)
	case errors.Is(err, session.ErrShutdown):
		c.say(stopping)
	default:
		c.log.Error("session failed", "error", err)
		c.say("the session failed because of an error in the gateway; try again, and if it fails again report it to its operators: reference " + c.conn.reference)
	}
	if err != nil {
		exit = session.Exit{Status: statusRefused}
	}
	c.end(exit)
}

// say shows a message to the user, before or after the session has used the channel. It blocks
// while the client does not read.
func (c *channel) say(sentence string) {
	text := "ttydrain: " + strings.TrimRight(sentence, "\n") + "\n"
	if c.terminal != nil { // the client's terminal is in raw mode, and there is no PTY to add it
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	c.ssh.Stderr().Write([]byte(text)) // only fails when the client is gone
}

// end reports the exit to the client and closes the channel, which the client then confirms.
//
// It sends exit-signal for a program that was ended by a signal, and otherwise exit-status, like
// sshd. Both together are a protocol error for some clients, which then drop the connection with
// all its sessions. OpenSSH's client ignores exit-signal and exits with 255, as with sshd. All
// errors mean that the client is gone.
func (c *channel) end(exit session.Exit) {
	if exit.Signal != "" {
		c.ssh.SendRequest("exit-signal", false, exitSignal(exit))
	} else {
		c.ssh.SendRequest("exit-status", false, exitStatus(exit.Status))
	}
	c.ssh.CloseWrite()
	c.ssh.Close()
}

// refuse refuses a request to start a program, shows the reason, and ends the channel.
func (c *channel) refuse(req *ssh.Request, sentence string) {
	if c.started {
		req.Reply(false, nil)
		return
	}
	c.started = true
	// In a goroutine: say waits for the client's window, and while serve waits, the connection
	// reads nothing.
	c.program.Go(func() {
		c.say(sentence)
		// After a failure reply, OpenSSH's client exits at once, without writing output that it
		// received just before. So it first has to answer another request: then that output has
		// been written.
		answered := make(chan struct{})
		c.program.Go(func() {
			c.ssh.SendRequest("keepalive@openssh.com", true, nil)
			close(answered)
		})
		within(answered, shownTimeout)
		req.Reply(false, nil)
		c.end(session.Exit{Status: statusSubsystem})
	})
}
