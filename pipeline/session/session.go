package session

import (
	"context"
	"io"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// Request is a session that an authenticated user requests on an existing app.
type Request struct {
	App  string
	User schema.User
	// Origin describes where the session came from.
	Origin schema.Origin
	// Connection is the reference of the client's connection in the gateway's log.
	Connection string
	// Command is the requested command line, which a shell interprets; "" for the app's own
	// command.
	Command string
	// Transfer requests the app's SFTP server: each transferred file is recorded, without its
	// content. Command is then only used for the start record.
	Transfer bool
	// Terminal is the client's terminal; nil for a session without one.
	Terminal *Terminal
	// Env holds the accepted variables of the client as KEY=VALUE.
	Env []string
	// Notices are lines for the user in the banner: what was refused, and why.
	Notices []string
}

// Terminal describes the client's terminal.
type Terminal struct {
	Name string // TERM
	Size Size
	// Modes are the encoded terminal modes of RFC 4254 §8, applied as far as the runtime supports
	// them.
	Modes []byte
}

// Size is a terminal's size.
type Size struct {
	Width, Height int // in cells
	// PixelWidth and PixelHeight are the size of the text area in pixels, for programs that draw
	// images; 0 if unknown.
	PixelWidth, PixelHeight int
}

// IO is the client's side of a session. The session uses it until Run returns, and closes none of
// it.
type IO struct {
	// Stdin returns io.EOF when the client has no more input; that alone does not end the session.
	Stdin io.Reader
	// Stdout receives the terminal's output, or standard output. Write may block while the client
	// is not ready: this holds back the program, as a terminal does.
	Stdout io.Writer
	// Stderr is not used with a terminal.
	Stderr io.Writer
	// Resize and Signals (names without "SIG") may be nil. The sender must not close them before
	// Run returns.
	Resize  <-chan Size
	Signals <-chan string
	// OutputClosed is closed when the client no longer reads Stdout, and may be nil. Stdout
	// discards everything written afterwards.
	OutputClosed <-chan struct{}
}

// Exit describes how a session, or its command, ended.
type Exit struct {
	// Status is the exit status of the command, or 128 plus the number of the signal that ended it.
	Status int
	// Signal is the name, without "SIG", of the signal that ended the command, or "".
	Signal string
	// CoreDumped applies to Signal.
	CoreDumped bool
	// Reason is the reason in the end record: see the Reason constants.
	Reason string
}

// Reasons why a session ended, as recorded in the end record.
const (
	ReasonExit         = "exit"           // the command exited by itself
	ReasonOutputClosed = "output closed"  // the same, after the client had closed the output, as with "| head"
	ReasonDisconnect   = "disconnect"     // the client disconnected
	ReasonExpired      = "expired"        // it reached its maximum duration
	ReasonKilled       = "killed"         // an operator ended it
	ReasonShutdown     = "shutdown"       // the gateway is stopping
	ReasonNoRoom       = "no room"        // it had the most output while there was almost no space left for recording
	ReasonOutput       = "output limit"   // it, its user or its stack reached an output limit
	ReasonNotRecorded  = "not recorded"   // the stream accepted no more output
	ReasonStartFailure = "start failed"   // the runtime could not start it
	ReasonLost         = "container lost" // the runtime lost track of the command
	ReasonGatewayLost  = "gateway lost"   // its gateway was killed; recorded at the gateway's next start
)

// Refusal is an error whose text is meant for the user who requested the session.
type Refusal struct{ Message string }

func (r *Refusal) Error() string { return r.Message }

// Runtime starts sessions' commands in containers of some kind.
type Runtime interface {
	// Start starts the command. If ctx is done before Start returns, nothing keeps running.
	// Afterwards ctx has no effect: Kill ends the process.
	Start(ctx context.Context, spec Spec) (Process, error)
}

// Spec describes the command to start and its environment.
type Spec struct {
	// Name is unique among all sessions, and valid as a host name and as a file name.
	Name string
	// Operation and App identify the session to operators who inspect running containers.
	Operation, App string
	// Command is the app's command with its arguments. If CommandLine is not "", `Command[0] -c
	// CommandLine` is run instead.
	Command     []string
	CommandLine string
	// Env is the complete environment as KEY=VALUE; later values win. The runtime adds missing
	// variables such as HOME, USER and PATH, and sets TERM from the terminal.
	Env []string
	// Root is the folder that the session sees as "/"; "" for the host's. It is for runtimes
	// without containers.
	Root string
	// Container is for runtimes that make containers.
	Container Container
	// Memory is the limit in bytes of all processes together.
	Memory int64
	// Pids is the maximum number of concurrent processes and threads; 0 means no limit.
	Pids int64
	// Terminal is nil for a session without one.
	Terminal *Terminal
	// Isolation limits the session's access to the host.
	Isolation Isolation
}

// Isolation limits the access of a session to the host, if the runtime shares the host's files and
// network. The zero value is the strictest, except for the network.
type Isolation struct {
	// User is the name or ID of the user that the session runs as; "" for one without any
	// privileges.
	User string
	// NoNetwork restricts the session to a loopback interface of its own. Otherwise it uses the
	// host's network.
	NoNetwork bool
	// Writable allows writing to files outside of its scratch folders, as far as its user may.
	Writable bool
}

// Container describes how a session's container is created.
type Container struct {
	// Image is the name of an image; From is the name or ID of a container whose configuration is
	// copied. One of them is set.
	Image, From string
	// Pull allows fetching a missing Image from its registry.
	Pull bool
	// User runs the command, as USER, USER:GROUP or their IDs; "" for the user of Image or From.
	User string
}

// Process is a started command and all of its descendants.
type Process interface {
	// Stdin returns the command's input. Without a terminal, closing it signals end of file to the
	// command; with a terminal, closing has no effect.
	Stdin() io.WriteCloser
	// Stdout returns the output of the PTY, or standard output; it ends with io.EOF when no process
	// can write any more.
	Stdout() io.Reader
	// Stderr returns nil with a terminal.
	Stderr() io.Reader
	Resize(Size) error
	// CloseOutput closes the reading end of standard output: Stdout ends, and a command that writes
	// more receives SIGPIPE. With a terminal it hangs up the terminal, and the command receives
	// SIGHUP.
	CloseOutput() error
	// Signal sends a signal, by its name without "SIG", to the command (with a terminal: to the
	// terminal's foreground process group). Unknown names are an error.
	Signal(name string) error
	// Wait waits for the command's end and returns its status. Afterwards no process of the session
	// is running. It must be called exactly once: a session that is not waited for may be ended at
	// any time. Reason is left empty. An error means that it is unknown how the command ended and
	// whether it still runs: the runtime keeps trying to end it.
	Wait() (Exit, error)
	// Kill kills the command and all of its descendants immediately. It may be called at any time
	// and repeatedly.
	Kill()
}

// SessionDurationLimit is the maximum duration of a session, active or idle.
const SessionDurationLimit = 7 * 24 * time.Hour
