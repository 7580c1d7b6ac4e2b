package gateway

import (
	"context"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// sftp is the name of the subsystem, and the command in the start record of its sessions.
const sftp = "sftp"

// mayTransfer reports whether files may be transferred, which a forced command prevents.
func (g *Grant) mayTransfer() bool { return g.FileTransfer && g.ForceCommand == nil }

// exec starts a command line. A command that starts a file transfer program is treated like the
// subsystem: OpenSSH's "sftp -s PATH" runs the server as a command.
func (c *channel) exec(ctx context.Context, req *ssh.Request, command string) {
	switch transferProgram(command) {
	case "":
		c.start(ctx, req, command, false)
	case sftp:
		c.startTransfer(ctx, req, command)
	default:
		c.refuseTransfer(req, "exec")
	}
}

// startTransfer starts a session for file transfers, if permitted.
func (c *channel) startTransfer(ctx context.Context, req *ssh.Request, command string) {
	if !c.conn.who.grant.mayTransfer() || c.terminal != nil || c.conn.who.App == NoApp {
		c.refuseTransfer(req, sftp)
		return
	}
	c.start(ctx, req, command, true)
}

func (c *channel) refuseTransfer(req *ssh.Request, name string) {
	c.conn.logRefusal("subsystem", name[:min(len(name), 64)])
	c.refuse(req, noSubsystem)
}

// transferProgram returns the protocol of a command line that a client runs to transfer files:
// sftp, scp or rsync; "" for any other. Only its first word is examined, not how a shell interprets
// the rest.
func transferProgram(command string) string {
	words := strings.Fields(command)
	if len(words) == 0 {
		return ""
	}
	has := func(options ...string) bool {
		return slices.ContainsFunc(words[1:], func(w string) bool { return slices.Contains(options, w) })
	}
	switch path.Base(words[0]) {
	case "sftp-server", "internal-sftp":
		return sftp
	case "scp":
		if has("-t", "-f") {
			return "scp"
		}
	case "rsync":
		if has("--server") {
			return "rsync"
		}
	}
	return ""
}
