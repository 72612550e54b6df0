package main

import (
	"os"
	"os/signal"
	"syscall"
)

// asInit is what the first process of a container does: it runs sandboxd as
// its child, hands on signals, and reaps orphans, which sandboxd would take
// for its own. It ends with sandboxd, and with its exit code.
func asInit() (code int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGCHLD)
	defer signal.Stop(signals)
	child, err := os.StartProcess(self, os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 1, err
	}
	for got := range signals {
		if got != syscall.SIGCHLD {
			_ = child.Signal(got)
			continue
		}
		for { // one signal may stand for several ends
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			switch {
			case err == syscall.EINTR:
				continue
			case pid == child.Pid && status.Signaled():
				return 128 + int(status.Signal()), nil
			case pid == child.Pid && status.Exited():
				return status.ExitStatus(), nil
			}
			if pid <= 0 || err != nil {
				break
			}
		}
	}
	return 1, nil
}
