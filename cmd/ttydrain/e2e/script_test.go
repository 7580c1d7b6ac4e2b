package e2e

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// TestScripts runs the command lines of testdata/script. Beside testscript's own commands they
// have:
//
//	exits STATUS COMMAND…   runs a command, which must end with the status
//	lines STREAM COUNT      the last command's stdout or stderr has so many lines
//	schema FILE             the file is a valid JSON Schema
//	listening ADDRESS       waits until somebody listens there
//	envsubst FILE…          puts the values of environment variables into files
//
// $HTTPS, $SYSLOG, $SSH and $ADMIN are addresses at which nobody listens.
func TestScripts(t *testing.T) {
	path := filepath.Dir(program(t)) + string(os.PathListSeparator) + os.Getenv("PATH")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", path)
			e.Setenv("GORACE", "atexit_sleep_ms=0") // otherwise the race detector delays the exit by a second
			for _, name := range []string{"HTTPS", "SYSLOG", "SSH", "ADMIN"} {
				address, release, err := porttest.Hold()
				if err != nil {
					return err
				}
				e.Defer(release)
				e.Setenv(name, address)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     scriptExits,
			"lines":     scriptLines,
			"schema":    scriptSchema,
			"listening": scriptListening,
			"envsubst":  scriptEnvsubst,
		},
	})
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND…")
	}
	status := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		status = exit.ExitCode()
	}
	if want := args[0]; strconv.Itoa(status) != want {
		ts.Fatalf("exit status %d, want %s", status, want)
	}
}

func scriptLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines STREAM COUNT")
	}
	if got := bytes.Count([]byte(ts.ReadFile(args[0])), []byte("\n")); strconv.Itoa(got) != args[1] {
		ts.Fatalf("%d lines, want %s", got, args[1])
	}
}

func scriptSchema(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: schema FILE")
	}
	_, err := compileSchema([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
}

// compileSchema reads a JSON Schema, and validates it with the schema of schemas.
func compileSchema(text []byte) (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", document); err != nil {
		return nil, err
	}
	return c.Compile("schema.json")
}

func scriptListening(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: listening ADDRESS")
	}
	deadline := time.After(patience)
	for {
		conn, err := net.Dial("tcp", args[0])
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-deadline:
			ts.Fatalf("nobody listens: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// scriptEnvsubst puts the values of environment variables into files.
func scriptEnvsubst(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: envsubst FILE…")
	}
	for _, file := range args {
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(os.Expand(ts.ReadFile(file), ts.Getenv)), 0o600))
		ts.Check(os.Chmod(ts.MkAbs(file), 0o600)) // it existed, open to others
	}
}
