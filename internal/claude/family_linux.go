package claude

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// family tells the processes that came from a Claude Code from all others:
// they are descendants of this process, not older than Claude, and in a
// session that is not ours. None of this can be shaken off: orphans come back
// to us, and nothing can join a session that it did not inherit or make.
type family struct {
	session int
	since   uint64 // clock ticks since boot
}

const (
	prSetChildSubreaper = 36 // linux/prctl.h
	killPatience        = 5 * time.Second
)

// adopt makes this process the parent of its descendants' orphans.
func adopt() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return fmt.Errorf("adopt orphans: %w", errno)
	}
	return nil
}

// familyOf is the family of a process that was started and not waited for.
func familyOf(pid int) (family, error) {
	self, err := readProc(os.Getpid())
	if err != nil {
		return family{}, err
	}
	eldest, err := readProc(pid)
	return family{session: self.session, since: eldest.started}, err
}

// kill kills the family, and waits until the kernel has let go of it or
// patience ends: a process of another user, or one stuck in the kernel,
// cannot be killed.
func (f family) kill() {
	deadline := time.Now().Add(killPatience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		members := f.members()
		for _, m := range members {
			if !m.zombie {
				_ = syscall.Kill(m.pid, syscall.SIGKILL)
			}
			if m.parent == os.Getpid() {
				_, _ = syscall.Wait4(m.pid, nil, syscall.WNOHANG, nil)
			}
		}
		if len(members) == 0 || time.Now().After(deadline) {
			return
		}
		time.Sleep(pause)
	}
}

// members lists the family's processes.
func (f family) members() []proc {
	all := map[int]proc{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			if p, err := readProc(pid); err == nil {
				all[pid] = p
			}
		}
	}
	var members []proc
	for _, p := range all {
		if p.session != f.session && p.started >= f.since && descends(all, p, os.Getpid()) {
			members = append(members, p)
		}
	}
	return members
}

// descends reports whether ancestor is among p's forebears.
func descends(all map[int]proc, p proc, ancestor int) bool {
	for range len(all) { // a list read while processes come and go may hold a circle
		if p.parent == ancestor {
			return true
		}
		var ok bool
		if p, ok = all[p.parent]; !ok {
			return false
		}
	}
	return false
}

// proc is what we need of a process.
type proc struct {
	pid, parent, session int
	zombie               bool
	started              uint64 // clock ticks since boot
}

// readProc reads /proc/PID/stat, see proc(5).
func readProc(pid int) (proc, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, err
	}
	_, rest, _ := strings.Cut(string(data), "(")
	i := strings.LastIndexByte(rest, ')') // the name may hold anything
	fields := strings.Fields(rest[i+1:])
	if i < 0 || len(fields) < 20 {
		return proc{}, errors.New("unexpected form of /proc/PID/stat")
	}
	parent, err1 := strconv.Atoi(fields[1])
	session, err2 := strconv.Atoi(fields[3])
	started, err3 := strconv.ParseUint(fields[19], 10, 64)
	return proc{
		pid: pid, parent: parent, session: session,
		zombie: fields[0] == "Z" || fields[0] == "X", started: started,
	}, errors.Join(err1, err2, err3)
}
