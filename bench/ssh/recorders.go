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

// A recorder is a program that records what a terminal shows, behind OpenSSH's server: every
// session is run by it.
type recorder struct {
	program, pkg string
	// run is the shell command in its place: $FILE is where it records, $SSH_ORIGINAL_COMMAND what is
	// recorded, and $ENDING has it end with its connection, which script does not by itself.
	run string
}

var (
	// Without limits, as it is by default. It holds back what it has not written for up to ten
	// seconds, by default too; what it has written is in the page cache.
	tlog = recorder{"tlog-rec", "tlog", `exec $ENDING tlog-rec --writer=file --file-path="$FILE" --limit-action=pass -- /bin/sh -c "$SSH_ORIGINAL_COMMAND"`}
	// It writes what it shows at once, to the page cache.
	script = recorder{"script", "bsdutils", `exec $ENDING script --quiet --return --flush --command "$SSH_ORIGINAL_COMMAND" "$FILE"`}
)

// start starts an OpenSSH server whose sessions the recorder runs.
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

// makeUTMP makes the file in which tlog notes who is logged in, without which it records nothing:
// the system makes it at its start, and a container often has none.
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
	return errors.Join(os.Chown(file, 0, gid), os.Chmod(file, 0o664)) // whatever the umask is
}
