package ssh

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// A recorder is a program that records the output of terminals. OpenSSH's server runs every session
// with it.
type recorder struct {
	program, pkg string
	// run is the shell command for a session: it records $SSH_ORIGINAL_COMMAND in $FILE, and $ENDING
	// kills it when its connection ends, which script does not notice.
	run string
}

var (
	// Without rate limits, as by default. It buffers output for up to ten seconds, also by default,
	// and writes to the page cache.
	tlog = recorder{"tlog-rec", "tlog", `exec $ENDING tlog-rec --writer=file --file-path="$FILE" --limit-action=pass -- /bin/sh -c "$SSH_ORIGINAL_COMMAND"`}
	// It writes all output immediately, to the page cache.
	script = recorder{"script", "bsdutils", `exec $ENDING script --quiet --return --flush --command "$SSH_ORIGINAL_COMMAND" "$FILE"`}
)

// start starts an OpenSSH server with the recorder.
func (r recorder) start(ctx context.Context, s *measure.Settings, dir string, client ssh.Signer) (*Server, error) {
	if _, err := exec.LookPath(r.program); err != nil {
		return nil, measure.Missing("this machine has no %s (package %s)", r.program, r.pkg)
	}
	if err := makeUTMP(); err != nil {
		return nil, err
	}
	files, command := filepath.Join(dir, "recorded"), filepath.Join(dir, "record")
	if err := os.Mkdir(files, 0o700); err != nil {
		return nil, err
	}
	text := "#!/bin/sh\nexport LC_ALL=C.UTF-8\nENDING='setpriv --pdeathsig KILL'\nFILE='" + files + "'/$$\n" + r.run + "\n"
	if err := os.WriteFile(command, []byte(text), 0o755); err != nil {
		return nil, err
	}
	return startSSHD(ctx, dir, client, "ForceCommand "+command+"\n")
}

// makeUTMP creates the file in which tlog registers logins. tlog does not record without it. It is
// created at boot, and missing in many containers.
func makeUTMP() error {
	const file = "/run/utmp"
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	group, err := user.LookupGroup("utmp")
	if err != nil || os.Geteuid() != 0 {
		return measure.Missing("this machine has no %s", file)
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, nil, 0o664); err != nil {
		return err
	}
	return errors.Join(os.Chown(file, 0, gid), os.Chmod(file, 0o664)) // independent of the umask
}
