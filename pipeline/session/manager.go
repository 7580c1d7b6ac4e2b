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

// ErrExpired is the cause with which a session ends whose time is over.
var ErrExpired = errors.New("the session's time is over")

const (
	// maxCommand is how much of a command line an operation tells; it is on every segment.
	maxCommand = 4 << 10
	// showGrace is how long a client that is slow to take its output may hold up the end of a session
	// that was ended for it.
	showGrace = 2 * time.Second
	// hangUpGrace is the time that a command has to end after its terminal was hung up.
	hangUpGrace = 5 * time.Second
)

// A Store keeps what is known of operations and sessions.
type Store interface {
	// CreateOperation records an operation durably, and gives it its ID.
	CreateOperation(ctx context.Context, op *schema.Operation) error
	SaveSession(ctx context.Context, s *schema.Session) error
	Sessions(ctx context.Context) ([]schema.Session, error)
	// WatchKills calls wanted with each wish that a session ends, those that there are and those to
	// come, until ctx is done.
	WatchKills(ctx context.Context, wanted func(schema.Kill)) error
	// ForgetKill takes away such a wish.
	ForgetKill(ctx context.Context, operation string) error
	// LastChunks calls each with what there is of an operation on the TTY stream, in the order of the
	// stream, from a minute before its last chunk on. The data are each's.
	LastChunks(ctx context.Context, subject string, each func(sequence uint64, data []byte) error) error
}

// ErrFull is what an error of a Store or a Publisher wraps where there is no room to record
// something.
var ErrFull = errors.New("there is no room")

// An App is what sessions are opened on.
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
	// APIURL is what the hrefs in its sessions' environment begin with, without a slash at its end; ""
	// for no hrefs.
	APIURL string
	// Isolation is for runtimes that share the host's files or network.
	Isolation Isolation
	// Duration is how long its sessions may last; SessionDurationLimit at most.
	Duration time.Duration
	PHI      bool
	// Sessions is how many sessions its stack may have at a time, on all its apps, as its plan has it.
	Sessions int
	Plan     string
	// Limits bound the output of its stack's sessions.
	Limits Limits
	// SFTPServer is the file of the program for sessions that transfer files.
	SFTPServer string
	// RecordStdin says that the input of sessions without a terminal is recorded.
	RecordStdin bool
	// Drains are the names of the drains that its sessions go to.
	Drains []string
	// Banner is one of the Banner constants; "" is BannerInteractive.
	Banner string
}

// When a session begins with the lines of the banner.
const (
	BannerAlways      = "always"      // without a terminal on standard error
	BannerInteractive = "interactive" // on a terminal
	BannerNone        = "none"
)

// Options of a Manager. All but Room, Metrics and Log are needed.
type Options struct {
	// Gateway names this gateway, and lasts over its restarts. Host is its host name.
	Gateway, Host string
	App           func(name string) (App, bool)
	Runtimes      map[string]Runtime
	Store         Store
	Publisher     Publisher
	Slots         Slots
	// Room returns how much room is left to record output; nil for room without a bound.
	Room func(context.Context) (Room, error)
	// Subject is where an operation's chunks go.
	Subject func(*schema.Operation) string
	// Document makes the user document, which is expired.
	Document func(schema.User) (string, error)
	Metrics  *Metrics
	Log      *slog.Logger
}

// A Manager runs sessions, from the operation's record to the end event.
type Manager struct {
	o        Options
	left     chan struct{} // of cap 1: unfinished has become longer
	buffers  buffers
	governor *governor

	finishing sync.Mutex // held by finish: two would record the same ends

	mu         sync.Mutex
	unfinished map[string]unfinished              // guarded by mu: by operation; maxUnfinished at most
	running    map[string]context.CancelCauseFunc // guarded by mu: the ends of the sessions that run, by operation
}

// NewManager makes a manager.
func NewManager(o Options) *Manager {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(prometheus.NewRegistry())
	}
	return &Manager{o: o, governor: newGovernor(o.Room, o.Metrics), left: make(chan struct{}, 1), unfinished: make(map[string]unfinished), running: make(map[string]context.CancelCauseFunc)}
}

// Run runs one session and returns when it is over and its end is recorded, or left to Tend. When
// ctx is cancelled the session is killed, with everything it started; the context's cause
// (ErrDisconnected, ErrShutdown) becomes the reason in the end record.
//
// A [*Refusal] says why there is no session.
func (m *Manager) Run(ctx context.Context, req Request, client IO) (Exit, error) {
	s, err := m.begin(ctx, req, client)
	if err != nil {
		return Exit{}, err
	}
	defer s.release()
	exit, err := s.run(s.ctx, s.runtime)
	return m.over(s, exit, err)
}

// over records the end of a session that has run.
func (m *Manager) over(s *running, exit Exit, err error) (Exit, error) {
	m.o.Metrics.running.Dec()
	m.o.Metrics.ended.WithLabelValues(cmp.Or(exit.Reason, ReasonNotRecorded)).Inc()
	s.free()
	s.log.Info("session ended", "reason", exit.Reason, "status", exit.Status, "bytes", s.capture.total())
	state := s.state
	if err != nil {
		m.leave(state, ReasonNotRecorded)
		if exit.Reason == ReasonNotRecorded { // the person has been told
			err = nil
		}
		return exit, err
	}
	state.Ended, state.Reason, state.ExitStatus, state.Bytes = time.Now().UTC(), exit.Reason, &exit.Status, s.capture.total()
	if s.killing != nil {
		state.EndedBy, state.EndedBecause = s.killing.By, s.killing.Because
	}
	if err := m.o.Store.SaveSession(context.WithoutCancel(s.ctx), state); err != nil {
		s.log.Error("the end of a session could not be recorded", "error", err)
		m.leave(state, exit.Reason)
	}
	if s.killing != nil {
		if err := m.o.Store.ForgetKill(context.WithoutCancel(s.ctx), s.op.ID); err != nil {
			s.log.Warn("a wish that was followed is still there, which does no harm", "error", err)
		}
	}
	return exit, nil
}

// running is one session on its way from start to end.
type running struct {
	op        *schema.Operation
	app       App
	req       Request
	client    IO
	log       *slog.Logger
	capture   *capture
	output    *output
	killing   *Killing           // who ended it; nil where nobody did. Of run alone
	escaped   atomic.Bool        // the terminal was shown an escape sequence
	given     given              // input, without a terminal
	transfers *transfer.Observer // nil where the session transfers no files

	outputClosed atomic.Bool // the client takes no more of standard output

	runtime Runtime
	state   *schema.Session
	ctx     context.Context         // done when the session is to end; its cause says why
	kill    context.CancelCauseFunc // of ctx
	cancel  context.CancelFunc      // of the deadline, which is its parent
	forget  func()                  // that it can be ended
	free    func()                  // gives the slot back: before anybody can know that the session has ended
}

// release lets go of all that begin took, as far as it got.
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

// run returns an error only where the end of the session could not be recorded.
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
		return s.over(ctx, Exit{Status: 255})
	}
	if err != nil {
		s.log.Error("a session could not be started", "error", err)
		why := "the operators find the reason in the log, under operation " + s.op.ID
		if refusal, ok := errors.AsType[*Refusal](err); ok { // the others are not for the person
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
	go s.input(process)          // ends when the client's input ends, at the latest after run
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
			s.log.Error("a session's exit status is not known", "error", err)
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
		s.capture.rush()
		exit = <-over
		if s.capture.ctx.Err() == nil {
			exit.Signal = ""
			return s.over(ctx, exit)
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

// launch is apart from run for the sake of its stack, too.
//
//go:noinline
func (s *running) launch(ctx context.Context, runtime Runtime) (Process, error) {
	return runtime.Start(ctx, s.spec())
}

// over ends a session for the cause of ctx.
func (s *running) over(ctx context.Context, exit Exit) (Exit, error) {
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

// end records the end, and waits until it is recorded and the client has seen what came before.
func (s *running) end(ctx context.Context, exit Exit) (Exit, error) {
	if s.transfers != nil {
		s.transfers.Close()
	}
	detail := &schema.Detail{ExitStatus: &exit.Status, Reason: exit.Reason}
	s.given.tell(detail)
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
		s.capture.rush()
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

// fail ends a session that can't be recorded. The client is told by the gateway itself: it is the
// one thing that it shows and does not record.
func (s *running) fail(err error) (Exit, error) {
	s.capture.stop(err)
	s.log.Error("a session was ended, since its output can't be recorded", "error", err)
	grace := time.NewTimer(showGrace)
	defer grace.Stop()
	select { // what is recorded is shown first
	case <-s.capture.done:
	case <-grace.C:
		return Exit{Status: 255, Reason: ReasonNotRecorded}, err // it would not take the message either
	}
	to := s.client.Stdout
	if s.req.Terminal == nil {
		to = s.client.Stderr
	}
	told := make(chan struct{})
	go func() { // ends when the client takes the message, or is closed after run
		defer close(told)
		before := ""
		if s.escaped.Load() {
			before = resetTerminal
		}
		io.WriteString(to, before+"\r\nttydrain: "+notRecorded(err)+"\r\n")
	}()
	select {
	case <-told:
	case <-grace.C:
	}
	return Exit{Status: 255, Reason: ReasonNotRecorded}, err
}

const noRoomSentence = "this session was ended: there is no room left to record what it shows; its operators have to make room, then try again"

// notRecorded is what the person reads whose session can't be recorded any more.
func notRecorded(err error) string {
	if errors.Is(err, ErrFull) {
		return noRoomSentence
	}
	return "this session was ended, since what it shows can't be recorded now: try again in a minute"
}

// read captures one of the session's streams. A stream that can't be read is the end of the
// process.
func (s *running) read(stream schema.Stream, r io.Reader, p Process) {
	if err := s.capture.read(stream, r); err != nil {
		if !errors.Is(err, errOutputEnded) {
			s.log.Warn("a session's output ended early", "error", err)
		}
		p.Kill()
		io.Copy(io.Discard, r) // what is left was not shown and is not recorded
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

// metadata are the platform's variables, which win over the app's of the same name, and those over
// the client's.
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

// banner returns the lines that the session begins with: the operation, that it is recorded and how
// long it may last, where the app shows them, and what was refused.
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

// say shows lines of the gateway's own in the session, which are recorded like all it shows. They
// go to standard error where that is apart.
func (s *running) say(lines ...string) { s.write("", lines) }

// conclude says the last line of a session that was ended, on a terminal that can be read again.
func (s *running) conclude(line string) {
	if s.escaped.Load() {
		s.write(resetTerminal+"\r\n", []string{line})
		return
	}
	s.announce(line)
}

// announce says a line wherever the program has left the cursor.
func (s *running) announce(line string) {
	before := ""
	if s.req.Terminal != nil {
		before = "\r\n"
	}
	s.write(before, []string{line})
}

// write says lines at once, so that nothing of the program's comes between.
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

// reason is the word of the end record for what ended a session's context.
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
