package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/transfer"
	"github.com/ttydrain/ttydrain/schema"
)

// ErrExpired is the cause of ending a session that reached its maximum duration.
var ErrExpired = errors.New("the session's time is over")

const (
	// maxCommand is the maximum length of the command line in an operation, which every segment
	// repeats.
	maxCommand = 4 << 10
	// showGrace is the time for which a client that reads slowly may delay the end of a session.
	showGrace = 2 * time.Second
	// hangUpGrace is the time that a command has to exit after its terminal was hung up.
	hangUpGrace = 5 * time.Second
)

// Store keeps operations and the state of sessions.
type Store interface {
	// CreateOperation records an operation durably and assigns its ID.
	CreateOperation(ctx context.Context, op *schema.Operation) error
	SaveSession(ctx context.Context, s *schema.Session) error
	Sessions(ctx context.Context) ([]schema.Session, error)
	// WatchKills calls requested for each kill request, existing and new, until ctx is done.
	WatchKills(ctx context.Context, requested func(schema.Kill)) error
	// ForgetKill deletes a kill request.
	ForgetKill(ctx context.Context, operation string) error
	// LastChunks calls each with the messages of an operation on the TTY stream, in stream order,
	// starting one minute before the last message. The data belongs to each.
	LastChunks(ctx context.Context, subject string, each func(sequence uint64, data []byte) error) error
}

// ErrFull is wrapped by errors of a Store or a Publisher that has no space left for recording.
var ErrFull = errors.New("there is no room")

// App is an app on which sessions are opened, with the settings of its sessions.
type App struct {
	Name, ID, Stack, Service string
	// Runtime is the name of the runtime in Options.Runtimes.
	Runtime string
	Command []string
	Env     []string // KEY=VALUE
	Root    string
	// Container is for runtimes that make containers.
	Container Container
	Memory    int64
	Pids      int64
	// APIURL is the prefix of the hrefs in the sessions' environment, without a trailing slash; ""
	// for no hrefs.
	APIURL string
	// Isolation is for runtimes that share the host's files or network.
	Isolation Isolation
	// Duration is the maximum duration of its sessions, at most SessionDurationLimit.
	Duration time.Duration
	PHI      bool
	// Sessions is the maximum number of concurrent sessions of its stack, over all apps, according
	// to Plan.
	Sessions int
	Plan     string
	// Limits are the output limits of its stack's sessions.
	Limits Limits
	// SFTPServer is the path of the program for file transfers.
	SFTPServer string
	// RecordStdin enables recording the input of sessions without a terminal.
	RecordStdin bool
	// Drains are the names of the drains that receive its sessions.
	Drains []string
	// Banner is one of the Banner constants; "" is BannerInteractive.
	Banner string
}

// Conditions under which a session begins with the lines of the banner.
const (
	BannerAlways      = "always"      // without a terminal on standard error
	BannerInteractive = "interactive" // on a terminal
	BannerNone        = "none"
)

// Options configure a Manager. Room, Metrics and Log are optional.
type Options struct {
	// Gateway is the name of this gateway, which stays the same over restarts. Host is its host
	// name.
	Gateway, Host string
	App           func(name string) (App, bool)
	Runtimes      map[string]Runtime
	Store         Store
	Publisher     Publisher
	Slots         Slots
	// Room returns the free space for recording output; nil means unlimited.
	Room func(context.Context) (Room, error)
	// Subject returns the subject of an operation's chunks.
	Subject func(*schema.Operation) string
	// Document returns a user document, which is already expired.
	Document func(schema.User) (string, error)
	Metrics  *Metrics
	Log      *slog.Logger
}

// Manager runs sessions, from the record of the operation to the end event.
type Manager struct {
	o        Options
	left     chan struct{} // of cap 1: unfinished has grown
	buffers  buffers
	governor *governor

	finishing sync.Mutex // held by finish: concurrent calls would record the same ends

	mu         sync.Mutex
	unfinished map[string]unfinished              // guarded by mu: by operation; at most maxUnfinished
	running    map[string]context.CancelCauseFunc // guarded by mu: cancels a running session, by operation
}

// NewManager returns a manager.
func NewManager(o Options) *Manager {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(prometheus.NewRegistry())
	}
	return &Manager{o: o, governor: newGovernor(o.Room, o.Metrics), left: make(chan struct{}, 1), unfinished: make(map[string]unfinished), running: make(map[string]context.CancelCauseFunc)}
}

// Run runs one session and returns when it has ended and its end is recorded or left to Tend. When
// ctx is cancelled, the session is killed with everything it started; the context's cause
// (ErrDisconnected, ErrShutdown) becomes the reason in the end record.
//
// It returns a [*Refusal] if the session was not started.
func (m *Manager) Run(ctx context.Context, req Request, client IO) (Exit, error) {
	s, err := m.begin(ctx, req, client)
	if err != nil {
		return Exit{}, err
	}
	defer s.release()
	exit, err := s.run(s.ctx, s.runtime)
	return m.recordEnd(s, exit, err)
}

// recordEnd records the end of a session that has run.
func (m *Manager) recordEnd(s *running, exit Exit, err error) (Exit, error) {
	m.o.Metrics.running.Dec()
	m.o.Metrics.ended.WithLabelValues(cmp.Or(exit.Reason, ReasonNotRecorded)).Inc()
	s.free()
	s.log.Info("session ended", "reason", exit.Reason, "status", exit.Status, "signal", exit.Signal, "bytes", s.capture.total(),
		"duration", time.Since(s.op.Started).Round(time.Millisecond))
	state := s.state
	if err != nil {
		m.deferEnd(state, ReasonNotRecorded)
		if exit.Reason == ReasonNotRecorded { // the user has been notified
			err = nil
		}
		return exit, err
	}
	state.Ended, state.Reason, state.ExitStatus, state.Bytes = time.Now().UTC(), exit.Reason, &exit.Status, s.capture.total()
	if s.killing != nil {
		state.EndedBy, state.EndedBecause = s.killing.By, s.killing.Because
	}
	if err := m.o.Store.SaveSession(context.WithoutCancel(s.ctx), state); err != nil {
		s.log.Error("end of session not recorded, retrying in the background", "error", err)
		m.deferEnd(state, exit.Reason)
	}
	if s.killing != nil {
		if err := m.o.Store.ForgetKill(context.WithoutCancel(s.ctx), s.op.ID); err != nil {
			s.log.Warn("kill request not deleted", "error", err)
		}
	}
	return exit, nil
}

// running is one session from its start to its end.
type running struct {
	op          *schema.Operation
	app         App
	req         Request
	client      IO
	log         *slog.Logger
	capture     *capture
	output      *output
	killing     *Killing           // who killed it; nil if nobody did. Only used by run
	escaped     atomic.Bool        // the terminal was shown an escape sequence
	inputDigest inputDigest        // input of a session without a terminal
	transfers   *transfer.Observer // nil if the session transfers no files

	outputClosed atomic.Bool // the client no longer reads standard output

	runtime Runtime
	state   *schema.Session
	ctx     context.Context         // done when the session has to end, with the cause
	kill    context.CancelCauseFunc // of ctx
	cancel  context.CancelFunc      // of the deadline, the parent of ctx
	forget  func()                  // undoes register
	free    func()                  // releases the slot; called before the session's end is visible
}

// release releases everything that begin has acquired so far.
func (s *running) release() {
	if s.capture != nil {
		s.capture.stop(errOver)
	}
	if s.output != nil {
		s.output.close()
	}
	if s.ctx != nil {
		s.forget()
		s.kill(nil)
		s.cancel()
	}
	s.free()
}

// run returns an error only if the end of the session could not be recorded.
func (s *running) run(ctx context.Context, runtime Runtime) (Exit, error) {
	start, err := schema.StartFrame(s.op.Started, s.op)
	if err != nil {
		return Exit{}, err
	}
	s.capture.event(start)
	if lines := s.banner(); len(lines) > 0 {
		s.say(lines...)
	}
	if err := s.capture.settle(); err != nil { // no stream, no session
		return s.fail(err)
	}
	process, err := s.launch(ctx, runtime)
	if err != nil && ctx.Err() != nil {
		return s.endWithCause(ctx, Exit{Status: 255})
	}
	if err != nil {
		s.log.Error("session not started", "error", err)
		why := "the operators find the reason in the log, under operation " + s.op.ID
		if refusal, ok := errors.AsType[*Refusal](err); ok { // other errors are not meant for the user
			why = refusal.Message
		}
		s.say("the session could not be started: " + why)
		return s.end(ctx, Exit{Status: 255, Reason: ReasonStartFailure})
	}
	defer process.Kill()

	if s.req.Transfer {
		s.transfers = s.newTransfers()
	}
	pumps, stopPumps := context.WithCancel(ctx)
	defer stopPumps()
	go s.input(process)          // ends with the client's input, at the latest after run
	go s.control(pumps, process) // ends with run
	defer s.warn()()
	var readers sync.WaitGroup
	stdout := process.Stdout()
	if s.req.Terminal != nil {
		stdout = escapeWatch{stdout, &s.escaped}
	}
	if s.transfers != nil {
		readers.Go(func() { s.transfer(pumps, process) })
	} else {
		readers.Go(func() { s.read(schema.Stdout, stdout, process) })
	}
	if stderr := process.Stderr(); stderr != nil {
		readers.Go(func() { s.read(schema.Stderr, stderr, process) })
	}

	over := make(chan Exit, 1)
	go func() { // ends with the process, which does not outlive run
		exit, err := process.Wait()
		if err != nil {
			s.log.Error("exit status of session is unknown", "error", err)
			exit = Exit{Status: 255, Reason: ReasonLost}
		}
		readers.Wait()
		over <- exit
	}()
	var exit Exit
	select {
	case exit = <-over:
		switch {
		case exit.Reason != "":
		case s.outputClosed.Load():
			exit.Reason = ReasonOutputClosed
		default:
			exit.Reason = ReasonExit
		}
	case <-ctx.Done():
		process.Kill()
		s.capture.expedite()
		exit = <-over
		if s.capture.ctx.Err() == nil {
			exit.Signal = ""
			return s.endWithCause(ctx, exit)
		}
	case <-s.capture.ctx.Done():
		process.Kill()
		<-over
	}
	if err := context.Cause(s.capture.ctx); err != nil {
		return s.fail(err)
	}
	if exit.Reason == ReasonLost {
		s.conclude("the connection to this session's command was lost, and the session was ended")
	}
	return s.end(ctx, exit)
}

// launch is also separate from run to keep the stack of run small.
//
//go:noinline
func (s *running) launch(ctx context.Context, runtime Runtime) (Process, error) {
	return runtime.Start(ctx, s.spec())
}

// endWithCause ends a session for the cause of ctx.
func (s *running) endWithCause(ctx context.Context, exit Exit) (Exit, error) {
	cause := context.Cause(ctx)
	exit.Reason = reason(cause)
	switch exit.Reason {
	case ReasonExpired:
		s.conclude("this session has reached the end of its time and was ended")
	case ReasonShutdown:
		s.conclude("this gateway is being stopped, and has ended this session")
	case ReasonNoRoom:
		s.conclude(noRoomSentence)
	case ReasonOutput:
		limit, _ := errors.AsType[*outputLimit](cause)
		s.conclude(limit.sentence)
	case ReasonKilled:
		if s.killing, _ = errors.AsType[*Killing](cause); s.killing == nil {
			s.killing = &Killing{By: "an operator"}
		}
		s.conclude(s.killing.sentence())
	}
	return s.end(ctx, exit)
}

// end records the end, and waits until it is recorded and the client has received the output before
// it.
func (s *running) end(ctx context.Context, exit Exit) (Exit, error) {
	if s.transfers != nil {
		s.transfers.Close()
	}
	detail := &schema.Detail{ExitStatus: &exit.Status, Reason: exit.Reason}
	s.inputDigest.addTo(detail)
	if s.killing != nil {
		detail.EndedBy, detail.EndedBecause = s.killing.By, s.killing.Because
	}
	end, err := schema.DetailFrame(schema.FrameEnd, time.Now(), detail)
	if err != nil {
		return exit, err
	}
	s.capture.finish(end)
	select {
	case <-s.capture.done:
	case <-ctx.Done():
		s.capture.expedite()
		<-s.capture.recorded
		select {
		case <-s.capture.done:
		case <-time.After(showGrace):
		}
	}
	if err := context.Cause(s.capture.ctx); err != nil {
		return s.fail(err)
	}
	s.capture.stop(errOver)
	return exit, nil
}

var errOver = errors.New("the session is over")

// fail ends a session that can no longer be recorded. The gateway notifies the client: this message
// is the only output that is shown without being recorded.
func (s *running) fail(err error) (Exit, error) {
	s.capture.stop(err)
	s.log.Error("session ended: its output cannot be recorded", "error", err)
	grace := time.NewTimer(showGrace)
	defer grace.Stop()
	select { // recorded output is shown first
	case <-s.capture.done:
	case <-grace.C:
		return Exit{Status: 255, Reason: ReasonNotRecorded}, err // the client would not read the message either
	}
	to := s.client.Stdout
	if s.req.Terminal == nil {
		to = s.client.Stderr
	}
	done := make(chan struct{})
	go func() { // ends when the client reads the message, or is closed after run
		defer close(done)
		before := ""
		if s.escaped.Load() {
			before = resetTerminal
		}
		io.WriteString(to, before+"\r\nttydrain: "+notRecorded(err)+"\r\n")
	}()
	select {
	case <-done:
	case <-grace.C:
	}
	return Exit{Status: 255, Reason: ReasonNotRecorded}, err
}

const noRoomSentence = "this session was ended: there is no room left to record what it shows; its operators have to make room, then try again"

// notRecorded returns the message to the user of a session that can no longer be recorded.
func notRecorded(err error) string {
	if errors.Is(err, ErrFull) {
		return noRoomSentence
	}
	return "this session was ended, since what it shows can't be recorded now: try again in a minute"
}

// read captures one of the session's streams. If it can't be read, the process is killed.
func (s *running) read(stream schema.Stream, r io.Reader, p Process) {
	if err := s.capture.read(stream, r); err != nil {
		if !errors.Is(err, errOutputEnded) {
			s.log.Warn("output of session ended early", "error", err)
		}
		p.Kill()
		io.Copy(io.Discard, r) // the rest was not shown and is not recorded
	}
}

func (s *running) spec() Spec {
	env := append([]string{}, s.req.Env...)
	env = append(env, s.app.Env...)
	env = append(env, s.metadata()...)
	line := s.req.Command
	if s.req.Transfer {
		line = "exec " + s.app.SFTPServer
	}
	return Spec{
		Name: s.op.Container, Operation: s.op.ID, App: s.op.App, Command: s.app.Command, CommandLine: line, Env: env, Root: s.app.Root,
		Container: s.app.Container, Memory: s.app.Memory, Pids: s.app.Pids, Terminal: s.req.Terminal, Isolation: s.app.Isolation,
	}
}

// metadata returns the platform's variables. They override the app's, which override the client's.
func (s *running) metadata() []string {
	env := []string{
		"APTIBLE_LAYER=" + s.op.Layer,
		"APTIBLE_PROCESS_TYPE=" + s.op.Service,
		"APTIBLE_CONTAINER_SIZE=" + strconv.FormatInt(s.app.Memory>>20, 10), // MB
		"APTIBLE_USER_DOCUMENT=" + s.op.UserDocument,
	}
	if s.app.APIURL != "" {
		env = append(env,
			"APTIBLE_APP_HREF="+s.app.APIURL+"/apps/"+url.PathEscape(s.op.AppID),
			"APTIBLE_EPHEMERAL_SESSION_HREF="+s.app.APIURL+"/ephemeral_sessions/"+url.PathEscape(s.op.ID))
	}
	return env
}

// banner returns the first lines of the session: the operation, the notice that it is recorded and
// its maximum duration, if the app shows them, and which of the client's requests were refused.
func (s *running) banner() []string {
	if s.app.Banner == BannerNone {
		return nil
	}
	if s.req.Terminal == nil && s.app.Banner != BannerAlways {
		return s.req.Notices
	}
	where := "no drain takes it yet"
	if len(s.app.Drains) > 0 {
		where = "it goes to " + strings.Join(s.app.Drains, ", ")
	}
	return append([]string{
		fmt.Sprintf("operation %s: session on %s for %s", s.op.ID, s.op.App, person(s.op.User)),
		"what this session shows is recorded; " + where,
		"it ends with its connection, at the latest on " + s.op.Expires.Format("2 January 2006 at 15:04 UTC"),
	}, s.req.Notices...)
}

// say shows lines of the gateway itself in the session; they are recorded like all output. They go
// to standard error if that is separate.
func (s *running) say(lines ...string) { s.write("", lines) }

// conclude shows the last line of a session that was ended, after it has made the terminal
// readable.
func (s *running) conclude(line string) {
	if s.escaped.Load() {
		s.write(resetTerminal+"\r\n", []string{line})
		return
	}
	s.announce(line)
}

// announce shows a line, wherever the program has left the cursor.
func (s *running) announce(line string) {
	before := ""
	if s.req.Terminal != nil {
		before = "\r\n"
	}
	s.write(before, []string{line})
}

// write shows lines at once, without output of the program in between.
func (s *running) write(before string, lines []string) {
	kind, end := schema.FrameStdout, "\r\n"
	if s.req.Terminal == nil {
		kind, end = schema.FrameStderr, "\n"
	}
	var b strings.Builder
	b.WriteString(before)
	for _, line := range lines {
		b.WriteString("ttydrain: " + line + end)
	}
	s.capture.write(kind, []byte(b.String()))
}

// reason returns the end record's reason for the cause that ended a session's context.
func reason(cause error) string {
	switch {
	case errors.Is(cause, ErrExpired):
		return ReasonExpired
	case errors.Is(cause, ErrShutdown):
		return ReasonShutdown
	case errors.Is(cause, ErrDisconnected):
		return ReasonDisconnect
	case errors.Is(cause, errNoRoom):
		return ReasonNoRoom
	case errors.As(cause, new(*outputLimit)):
		return ReasonOutput
	}
	return ReasonKilled
}
