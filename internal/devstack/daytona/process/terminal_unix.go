//go:build unix

package process

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

// attachTerminal gives a command a terminal that belongs to the sandbox's
// user and controls the command's session.
func attachTerminal(cmd *exec.Cmd, size daytona.Size, b *box) (*streams, error) {
	ours, theirs, err := pty.Open()
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr.Setctty = true
	s := &streams{
		input: ours, output: ours, theirs: []*os.File{theirs},
		resize: func(size daytona.Size) error { return resize(ours, size) },
	}
	err = errors.Join(
		// pty.Open leaves it blocking: no Close would end a read.
		syscall.SetNonblock(int(ours.Fd()), true),
		resize(ours, size),
		theirs.Chown(b.UID, b.gid()), // programs open it by its name, too
	)
	if err != nil {
		s.closeTheirs()
		s.closeOurs()
		return nil, err
	}
	return s, nil
}

func resize(terminal *os.File, size daytona.Size) error {
	raw, err := terminal.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: size.Cols, Row: size.Rows})
	})
	return errors.Join(err, failed)
}
