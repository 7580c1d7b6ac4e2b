package syslogtest

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// The queues are direct: what rsyslog has read is in its file before it reads on, so that a killed
// one has lost nothing of it. Sizes are as installed.
const rsyslogConfig = `global(
  workDirectory=%[1]q
  defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile=%[2]q
  defaultNetstreamDriverCertFile=%[3]q
  defaultNetstreamDriverKeyFile=%[4]q
)
main_queue(queue.type="Direct")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode=%[5]q)
template(name="message" type="list" option.jsonf="on") {
  property(outname="raw" name="rawmsg" format="jsonf")
  property(outname="pri" name="pri" format="jsonf")
  property(outname="hostname" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="procid" name="procid" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="sd" name="structured-data" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
}
ruleset(name="messages" queue.type="Direct") {
  action(type="omfile" file=%[6]q template="message")
}
input(type="imtcp" address=%[7]q port=%[8]q ruleset="messages")
`

// StartRsyslog starts rsyslogd. It takes both framings.
func StartRsyslog(t testing.TB, o Options) *Server {
	t.Helper()
	const remedy = "install rsyslog and rsyslog-openssl"
	path, ok := program("rsyslogd")
	if !ok {
		absent(t, "rsyslogd", remedy)
	}
	if drivers, _ := filepath.Glob("/usr/lib*/*/rsyslog/lmnsd_ossl.so"); len(drivers) == 0 {
		if drivers, _ := filepath.Glob("/usr/lib*/rsyslog/lmnsd_ossl.so"); len(drivers) == 0 {
			absent(t, "rsyslog's OpenSSL driver (lmnsd_ossl.so)", remedy)
		}
	}
	authMode := "anon"
	if o.RequireClientCert {
		authMode = "x509/certvalid"
	}
	dir := t.TempDir()
	s := &Server{
		Certificates: NewCertificates(t), Address: porttest.Reserve(t), name: "rsyslog",
		output: filepath.Join(dir, "messages.json"), log: filepath.Join(dir, "server.log"),
	}
	host, port, _ := net.SplitHostPort(s.Address)
	config := writeConfig(t, dir, fmt.Sprintf(rsyslogConfig, dir, s.CAFile, s.ServerCertFile, s.ServerKeyFile, authMode, s.output, host, port))
	s.command = func() *exec.Cmd { return exec.Command(path, "-n", "-iNONE", "-f", config) }
	return start(t, s)
}
