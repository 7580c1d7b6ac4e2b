package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestCompletionInShells types commands into the shells, and has them completed: from the
// configuration, and from fixed values.
func TestCompletionInShells(t *testing.T) {
	t.Parallel()
	const bashCompletion = "/usr/share/bash-completion/bash_completion"
	for shell, setUp := range map[string]string{
		"bash": "source " + bashCompletion + "; source <(ttydrain completion bash)",
		"zsh":  "autoload -U compinit; compinit -D -u; source <(ttydrain completion zsh)",
	} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			path := need(t, shell)
			if _, err := os.Stat(bashCompletion); err != nil && shell == "bash" {
				absent(t, "bash-completion is not installed")
			}
			site := newSite(t, withDrains(`{name: warehouse, type: file, path: ./archive}`))
			if err := os.Symlink(program(t), filepath.Join(site.dir, "ttydrain")); err != nil {
				t.Fatal(err)
			}
			options := map[string][]string{"bash": {"--norc", "--noprofile", "-i"}, "zsh": {"-f", "-i"}}[shell]
			cmd := exec.Command(path, options...)
			cmd.Dir = site.dir
			cmd.Env = append(os.Environ(), "PATH="+site.dir+":"+os.Getenv("PATH"), "PS1=ready> ", "HOME="+site.dir, "TERM=dumb", "INPUTRC=/dev/null")
			term := inTerminal(t, cmd)
			term.expect("ready> ")
			term.press(setUp + "; echo set' 'up\r")
			term.expect("set up")
			for _, test := range []struct{ typed, completed string }{
				{"ttydrain drains pause ware", "house"},
				{"ttydrain serve --role enr", "ich"},
				{"ttydrain export 1 --output asci", "icast"},
				{"ttydrain docs quick", "start"},
			} {
				term.press("\x15" + test.typed + "\t")
				term.expect(test.completed)
			}
			term.press("\x15exit\r")
			term.wait()
		})
	}
}
