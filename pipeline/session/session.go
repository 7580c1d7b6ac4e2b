package session

import (
	"context"
	"io"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// A Request is what a person asks for, after they have been authenticated and the app was found.
type Request struct {
	App  string
	User schema.User
	// Command is the command line asked for, which a shell interprets; "" for the app's own.
	Command string
	// Transfer asks for the app's SFTP server: each file that is transferred is recorded, and no
	// content. Command is then what the start record says.
	Transfer bool
	// Terminal is the client's, nil for a session without one.
	Terminal *Terminal
	// Env is what the client sent and the gateway accepts, as KEY=VALUE.
	Env []string
	// Notices are lines for the person that belong into the banner (what was refused, and why).
	Notices []string
}

// Terminal describes the client's terminal.
type Terminal struct {
	Name string // TERM
	Size Size
	// Modes are the encoded terminal modes of RFC 4254 §8, applied as far as the runtime can.
	Modes []byte
}

// Size is a terminal's size.
type Size struct {
	Width, Height int // in cells
	// PixelWidth and PixelHeight are the size of the text area in pixels, as programs that draw
	// pictures need it; 0 where the client does not know them.
	PixelWidth, PixelHeight int
}

// IO is the client's end of a session. The session reads and writes it until Run returns, and
// closes none of it.
type IO struct {
	// Stdin ends with io.EOF when the client has no more to say; that alone does not end the session.
	Stdin io.Reader
	// Stdout gets what the terminal shows, or standard output. Write may block as long as the
	// client takes no more: that holds the program back, as a terminal does.
	Stdout io.Writer
	// Stderr is unused with a terminal.
	Stderr io.Writer
	// Resize and Signals (names without "SIG") may be nil. The sender closes neither before Run
	// returns.
	Resize  <-chan Size
	Signals <-chan string
	// OutputClosed is closed when the client says that it takes no more of Stdout, and may be nil.
	// It discards what is written from then on.
	OutputClosed <-chan struct{}
}

// An Exit is how a session, or its command, ended.
type Exit struct {
	// Status is the command's exit status; 128 plus the signal's number when a signal ended it.
	Status int
	// Signal is the name without "SIG" of the signal that ended the command, or "".
	Signal string
	// CoreDumped goes with Signal.
	CoreDumped bool
	// Reason says why the session ended, in the words of the end record:
	// see the Reason constants.
	Reason string
}

// Why a session ended, as the end record tells it.
const (
	ReasonExit         = "exit"           // the command exited by itself
	ReasonOutputClosed = "output closed"  // so it did after the client had closed its output, as "| head" does
	ReasonDisconnect   = "disconnect"     // the client went away
	ReasonExpired      = "expired"        // its time was over
	ReasonKilled       = "killed"         // a person or an operator ended it
	ReasonShutdown     = "shutdown"       // the gateway is stopping
	ReasonNoRoom       = "no room"        // it showed the most while there was almost no room left to record anything
	ReasonOutput       = "output limit"   // it, its user or its stack showed as many bytes as they may
	ReasonNotRecorded  = "not recorded"   // the stream took no more output
	ReasonStartFailure = "start failed"   // the runtime could not start it
	ReasonLost         = "container lost" // the runtime can't tell what became of the command
	ReasonGatewayLost  = "gateway lost"   // its gateway was killed; the next start of it recorded this
)

// A Refusal is an error whose text is meant for the person who asked for the session.
type Refusal struct{ Message string }

func (r *Refusal) Error() string { return r.Message }

// A Runtime starts sessions' commands in containers of some kind.
type Runtime interface {
	// Start starts the command, or says why not. When ctx is done before Start returns, nothing runs.
	// Afterwards ctx is of no importance: Kill ends a process.
	Start(ctx context.Context, spec Spec) (Process, error)
}

// A Spec says what to start.
type Spec struct {
	// Name is unique among all sessions, and valid as a host and as a file name.
	Name string
	// Operation and App are what the session is of, for people who look at what runs.
	Operation, App string
	// Command is the app's command with its arguments. Where CommandLine is not "", Command[0] is
	// run as `Command[0] -c CommandLine` in its place.
	Command     []string
	CommandLine string
	// Env is the whole environment as KEY=VALUE, later ones winning; the runtime adds HOME, USER, PATH
	// and the like where they are missing, and TERM from the terminal.
	Env []string
	// Root is the folder that the session sees as "/"; "" for the host's. It is for runtimes without
	// containers.
	Root string
	// Container is for runtimes that make containers.
	Container Container
	// Memory is the limit in bytes of all processes together.
	Memory int64
	// Pids is the maximum number of processes and threads at a time; 0 is no limit.
	Pids int64
	// Terminal is nil for a session without one.
	Terminal *Terminal
	// Isolation is how much of the host the session may have.
	Isolation Isolation
}

// Isolation says how much of the host a session may have, where the runtime shares the host's files
// and network. The zero Isolation is the strictest, but for the network.
type Isolation struct {
	// User is the name or number of the user that the session runs as; "" for one without any
	// privilege.
	User string
	// NoNetwork leaves it nothing but a loopback interface of its own. Otherwise the network is the
	// host's.
	NoNetwork bool
	// Writable lets it write to the files outside of its scratch folders as far as its user may.
	Writable bool
}

// A Container says what a session's container is made like.
type Container struct {
	// Image is the name of an image, and From that of a container whose configuration is taken, or its
	// ID. One of both is set.
	Image, From string
	// Pull says that an Image that is not there may be got from its registry.
	Pull bool
	// User runs the command, as USER, USER:GROUP or their numbers; "" for the one that Image or From
	// has.
	User string
}

// A Process is a started command and everything that it starts.
type Process interface {
	// Stdin is what the command reads. Closing it without a terminal gives the command end of file;
	// with one it does nothing.
	Stdin() io.WriteCloser
	// Stdout is what the PTY writes to the terminal, or standard output; it ends with io.EOF when
	// nothing can write any more.
	Stdout() io.Reader
	// Stderr is nil with a terminal.
	Stderr() io.Reader
	Resize(Size) error
	// CloseOutput closes the reading end of standard output: Stdout ends, and a command that writes
	// more gets SIGPIPE. With a terminal it hangs up the terminal, for which the command gets
	// SIGHUP.
	CloseOutput() error
	// Signal sends a signal, by its name without "SIG", to the command (with a terminal: to the
	// terminal's foreground process group). Unknown names are an error.
	Signal(name string) error
	// Wait waits for the command's end and gives its status. When it has returned, nothing that the
	// command started is running any more. It is called once: a session that nobody waits for may end
	// at any time. Reason is left empty. An error says that what became of the command can't be told,
	// nor whether it still runs: the runtime goes on to end it.
	Wait() (Exit, error)
	// Kill kills the command and everything it started, at once. It may be called at any time and
	// any number of times.
	Kill()
}

// SessionDurationLimit is how long a session may last at most, active or idle.
const SessionDurationLimit = 7 * 24 * time.Hour
