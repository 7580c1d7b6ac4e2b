package setup

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"text/template"
)

// nextTemplate returns the template of the commands to run next.
func nextTemplate() *template.Template {
	return template.Must(template.New("next").Parse(`
Run these, the first two in terminals of their own:

1. Receive the records of sessions, and keep them in {{.Records}}:

     {{.Receive}}

2. Run ttydrain:

     {{.Serve}}

3. Open a session; leave it with exit:

     {{.SSH}}

4. Verify what the receiver got of it, and play it:

     {{.Audit}}
     {{.Replay}}

5. Open the console, {{.Console}}, with a link that logs you in once:

     {{.Link}}
`))
}

// WriteNext writes the commands that use the configuration, for a shell in the working directory.
// program is the command that runs ttydrain, for a shell.
func (r *Result) WriteNext(w io.Writer, program string) error {
	configFlag := ""
	if r.Config != configFile {
		configFlag = " -c " + ShellQuote(r.Config)
	}
	records := ShellQuote(r.path(recordsFile))
	return nextTemplate().Execute(w, map[string]string{
		"Records": r.path(recordsFile),
		"Receive": fmt.Sprintf("%s receive --https %s --syslog '' --certificates %s --file %s", program, r.Receiver, ShellQuote(r.path(receiverFolder)), records),
		"Serve":   program + " serve" + configFlag,
		"SSH":     "ssh -F " + ShellQuote(r.path(sshConfigFile)) + " " + ShellQuote(r.App),
		"Audit":   program + " audit" + configFlag + " --from " + records,
		"Replay":  program + " replay 1 --from " + records,
		"Console": "http://" + hostPort(r.Admin) + "/console/",
		"Link":    program + " console" + configFlag,
	})
}

// hostPort returns the address at which a listen address is reached on this machine.
func hostPort(listen string) string { return net.JoinHostPort(localTarget(listen)) }

var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// ShellQuote returns a text as one word for a POSIX shell.
func ShellQuote(text string) string {
	if shellSafe.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
