package estest

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ttydrain/ttydrain/sinks/porttest"
)

//go:embed start
var startScript []byte

//go:embed TestModule.java
var testModule []byte

//go:embed opensearch
var openSearch embed.FS

const (
	// startTimeout is enough for the download of the first start.
	startTimeout = 3 * time.Minute
	logTail      = 4 << 10
)

// A Node is an Elasticsearch or OpenSearch server with one member.
type Node struct {
	// URL is the node's address without a path.
	URL string
	// Username and Password are of a superuser; "" without security.
	Username, Password string

	options Options
	port    string
	release func() // of the port
	folder  string // of this node alone; "" for a node that was not started here
	process *process
}

func start(o Options) (*Node, error) {
	environment := environmentURL
	if o.OpenSearch {
		environment = environmentOpen
	}
	if url := os.Getenv(environment); url != "" && !o.Security {
		first, _, _ := strings.Cut(url, ",")
		n := &Node{URL: strings.TrimRight(strings.TrimSpace(first), "/"), options: o}
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		if err := n.waitReady(ctx); err != nil {
			return nil, fmt.Errorf("%s is %s, and it does not answer: %w", environment, n.URL, err)
		}
		return n, nil
	}
	needed := []string{"bash", "java", "javac", "jar", "mvn", "unzip", "flock"}
	if os.Getuid() == 0 {
		needed = append(needed, "setpriv")
	}
	var missing missingError
	for _, program := range needed {
		if _, err := exec.LookPath(program); err != nil {
			missing.programs = append(missing.programs, program)
		}
	}
	if len(missing.programs) > 0 {
		return nil, &missing
	}
	address, release, err := porttest.Hold()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "ttydrain-elasticsearch-")
	if err != nil {
		release()
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	n := &Node{URL: "http://" + address, options: o, port: port, release: release, folder: folder}
	if o.Security {
		n.Username, n.Password = "test", "test-password"
	}
	if err = n.writeFiles(); err == nil {
		err = n.run()
	}
	if err != nil {
		n.Stop()
		return nil, err
	}
	return n, nil
}

// writeFiles writes what starts the node into its folder.
func (n *Node) writeFiles() error {
	if n.options.OpenSearch {
		files, err := fs.Sub(openSearch, "opensearch")
		if err != nil {
			return err
		}
		start := filepath.Join(n.folder, "start")
		return errors.Join(os.CopyFS(n.folder, files), os.Chmod(start, 0o755))
	}
	return errors.Join(
		os.Chmod(n.folder, 0o755), // under root the server runs as nobody
		os.WriteFile(filepath.Join(n.folder, "start"), startScript, 0o755),
		os.WriteFile(filepath.Join(n.folder, "TestModule.java"), testModule, 0o644),
	)
}

// Restart stops the node and starts it again, at the same address and with the same data. It panics
// for a node that was not started here.
func (n *Node) Restart() error {
	n.Kill()
	return n.Revive()
}

// Kill ends the node at once, and keeps its data for Revive. It panics for a node that was not
// started here.
func (n *Node) Kill() {
	if n.folder == "" {
		panic("estest: the end of a node that was not started here")
	}
	if n.process != nil {
		n.process.stop()
		n.process = nil
	}
}

// Revive starts a node that was killed, at the same address and with the same data.
func (n *Node) Revive() error { return n.run() }

// Stop ends the node, with everything that it started, and removes its data. A node that was not
// started here is left alone. It may be called more than once.
func (n *Node) Stop() {
	if n.process != nil {
		n.process.stop()
		n.process = nil
	}
	if n.folder != "" {
		os.RemoveAll(n.folder)
		n.release()
	}
}

// run starts the process and waits until it answers.
func (n *Node) run() error {
	logName := filepath.Join(n.folder, "log")
	p, err := startProcess(n.folder, logName, n.options.Security, filepath.Join(n.folder, "start"), n.port, filepath.Join(n.folder, "data"))
	if err != nil {
		return err
	}
	n.process = p
	ctx, cancel := context.WithTimeoutCause(context.Background(), startTimeout, fmt.Errorf("it did not answer within %s", startTimeout))
	defer cancel()
	// This goroutine ends with the process, or with ctx.
	ctx, exited := context.WithCancelCause(ctx)
	defer exited(nil)
	go func() {
		select {
		case <-p.done:
			exited(fmt.Errorf("it ended: %w", p.err))
		case <-ctx.Done():
		}
	}()
	if err := n.waitReady(ctx); err != nil {
		return fmt.Errorf("start a node: %w; the end of its log:\n%s", err, tail(logName))
	}
	return nil
}

// waitReady asks until the node answers, or returns ctx's cause.
func (n *Node) waitReady(ctx context.Context) error {
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		answer, err := n.request(ctx, http.MethodGet, "/", nil)
		if err == nil && answer.status == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-again.C:
		}
	}
}

// A process is a process group that does not outlive this process, however this one ends.
type process struct {
	pid   int
	leash io.Closer
	done  chan struct{} // closed when the group's first process has ended
	err   error         // why, after done
}

// leashed runs its arguments, and beside them something that waits for the end of standard input,
// which comes at the latest when the parent has ended, and then removes the node's folder and kills
// the group.
const leashed = `{ cat >/dev/null; rm -rf "$TTYDRAIN_NODE_FOLDER"; kill -KILL -- -$$; } <&0 & exec "$0" "$@" </dev/null`

// stopTimeout bounds the wait for processes that were killed.
const stopTimeout = 10 * time.Second

func startProcess(folder, logName string, security bool, args ...string) (*process, error) {
	log, err := os.OpenFile(logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has a descriptor of its own
	command := exec.Command("bash", append([]string{"-c", leashed}, args...)...)
	command.Stdout, command.Stderr = log, log
	command.Env = append(os.Environ(), "SECURITY="+strconv.FormatBool(security), "TTYDRAIN_NODE_FOLDER="+folder)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leash, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		leash.Close()
		return nil, fmt.Errorf("start a node: %w", err)
	}
	p := &process{pid: command.Process.Pid, leash: leash, done: make(chan struct{})}
	// This goroutine ends with the process, which stop kills.
	go func() {
		defer close(p.done)
		p.err = command.Wait()
		if p.err == nil {
			p.err = errors.New("exit status 0")
		}
	}()
	return p, nil
}

// stop kills the group and waits for its end. Elasticsearch keeps all acknowledged documents.
func (p *process) stop() {
	// The leash's keeper is in the group until it kills it, so the number is still the group's.
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	<-p.done
	p.leash.Close()
	// The group's other processes are gone a moment later: before that they hold the port and
	// files.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(stopTimeout); time.Now().Before(end) && syscall.Kill(-p.pid, 0) == nil; {
		<-again.C
	}
}

func tail(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	if len(data) > logTail {
		data = data[len(data)-logTail:]
	}
	return string(data)
}
