package syslogtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/sinks/porttest"
)

const syslogNGConfig = `options { stats-freq(0); keep-hostname(yes); use-dns(no); dns-cache(no); };
source s {
  %[1]s tls(
    ca-file(%[2]q) cert-file(%[3]q) key-file(%[4]q) peer-verify(%[5]s)
  ));
};
destination d {
  file(%[6]q template("$(format-json raw=${RAWMSG} pri=${PRI} hostname=${HOST} app=${PROGRAM} procid=${PID} msgid=${MSGID} sd=${SDATA} msg=${MESSAGE})\n"));
};
log { source(s); destination(d); flags(flow-control); };
`

// StartSyslogNG starts syslog-ng with the framing that the options say.
func StartSyslogNG(t testing.TB, o Options) *Server {
	t.Helper()
	return StartSyslogNGWith(t, func(s *Server) string {
		host, port, _ := net.SplitHostPort(s.Address)
		source := fmt.Sprintf(`syslog(ip(%s) port(%s) transport("tls") flags(store-raw-message)`, host, port)
		if o.Newline {
			source = fmt.Sprintf(`network(ip(%s) port(%s) transport("tls") flags(store-raw-message, syslog-protocol)`, host, port)
		}
		verify := "optional-untrusted"
		if o.RequireClientCert {
			verify = "required-trusted"
		}
		return fmt.Sprintf(syslogNGConfig, source, s.CAFile, s.ServerCertFile, s.ServerKeyFile, verify, s.output)
	})
}

// StartSyslogNGWith starts syslog-ng with the configuration that text returns for the server's
// certificates and address. The line with the version is added to it.
func StartSyslogNGWith(t testing.TB, text func(s *Server) string) *Server {
	t.Helper()
	path, modules, libraries := findSyslogNG(t)
	environment := os.Environ()
	if libraries != "" {
		environment = append(environment, "LD_LIBRARY_PATH="+libraries)
	}
	dir := t.TempDir()
	s := &Server{
		Certificates: NewCertificates(t), Address: porttest.Reserve(t), name: "syslog-ng",
		output: filepath.Join(dir, "messages.json"), log: filepath.Join(dir, "server.log"),
	}
	config := writeConfig(t, dir, "@version: "+version(t, path, environment)+"\n"+text(s))

	// The path of a socket may have only 107 bytes, and a test's own folder can be longer.
	short, err := os.MkdirTemp("", "syslog-ng")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	s.command = func() *exec.Cmd {
		arguments := []string{"-F", "--no-caps", "-f", config, "-R", filepath.Join(dir, "persist"), "-p", filepath.Join(dir, "pid"), "-c", filepath.Join(short, "control")}
		if modules != "" {
			arguments = append(arguments, "--module-path="+modules)
		}
		command := exec.Command(path, arguments...)
		command.Env = environment
		return command
	}
	return start(t, s)
}

// findSyslogNG finds the program and, where it was only unpacked, its modules and libraries.
func findSyslogNG(t testing.TB) (path, modules, libraries string) {
	t.Helper()
	root := os.Getenv("SYSLOG_NG_ROOT")
	if root == "" {
		path, ok := program("syslog-ng")
		if !ok {
			absent(t, "syslog-ng", "install syslog-ng-core, or unpack it and set SYSLOG_NG_ROOT to the folder")
		}
		return path, "", ""
	}
	path = filepath.Join(root, "usr/sbin/syslog-ng")
	found, _ := filepath.Glob(filepath.Join(root, "usr/lib/syslog-ng/*/libsyslogformat.so"))
	if _, err := os.Stat(path); err != nil || len(found) == 0 {
		t.Fatalf("SYSLOG_NG_ROOT is %s, and there is no unpacked syslog-ng-core in it", root)
	}
	var folders []string
	for _, pattern := range []string{"usr/lib/syslog-ng", "usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
		match, _ := filepath.Glob(filepath.Join(root, pattern))
		folders = append(folders, match...)
	}
	return path, filepath.Dir(found[0]), strings.Join(folders, ":")
}

// version is the version for the configuration: one that names another gets warnings.
func version(t testing.TB, path string, environment []string) string {
	t.Helper()
	command := exec.Command(path, "--version")
	command.Env = environment
	output, err := command.Output()
	if err != nil && len(output) == 0 {
		t.Fatalf("ask syslog-ng for its version: %v", err)
	}
	for line := range strings.Lines(string(output)) {
		if v, ok := strings.CutPrefix(line, "Config version:"); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("syslog-ng does not tell its version: %s", output)
	return ""
}
