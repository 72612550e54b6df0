//go:build unix

package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const supported = true

// detach gives the command its own session and, if separate, its own user.
func detach(cmd *exec.Cmd, uid, gid int, separate bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if separate {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
}

// killSession kills what is left of a command's session: also the processes
// that have groups of their own, as a shell's jobs have.
func (b *box) killSession(leader int) {
	_ = syscall.Kill(-leader, syscall.SIGKILL)
	for _, pid := range b.processes() {
		if session, err := unix.Getsid(pid); err == nil && session == leader {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// exitCode is the code as a shell shows it: 128 + N for signal N.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// lockFile takes a lock that ends with the file or the process.
func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// One that was just given up may be held for a moment by processes that
	// were being started meanwhile.
	for range 50 {
		if err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// kill kills all processes of a sandbox, also those that left their group,
// and returns when none is left.
func (e *Engine) kill(ctx context.Context, b *box) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		alive := b.processes()
		if len(alive) == 0 {
			return nil
		}
		if e.separate {
			if err := killUser(ctx, b.UID); err != nil {
				return err
			}
		} else {
			for _, pid := range alive {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes of sandbox %s outlived their kill: %w", len(alive), b.ID, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// killUser kills every process of a user at once, so that none can fork on:
// the kernel lets a user's kill(-1) reach exactly its own processes.
func killUser(ctx context.Context, uid int) error {
	if uid < lowestUID {
		return fmt.Errorf("user id %d is not a sandbox's", uid)
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "kill -KILL -1")
	cmd.Env, cmd.Dir = []string{}, "/"
	detach(cmd, uid, uid, true)
	// It fails when the last process ended meanwhile.
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

// processes returns the sandbox's living processes: those of its user, or
// those that carry its id in their environment.
func (b *box) processes() []int {
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	owned := b.UID != os.Geteuid()
	marker := []byte("\x00DAYTONA_SANDBOX_ID=" + b.ID + "\x00")
	var pids []int
	for _, entry := range entries {
		if owned {
			if uid, dead := userOf(entry); uid != b.UID || dead {
				continue
			}
		} else if environ, err := os.ReadFile(entry + "/environ"); err != nil ||
			!bytes.Contains(append([]byte{0}, environ...), marker) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(entry)); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// userOf reads a process's real user id from its status, and whether it is
// dead but for its parent's wait.
func userOf(entry string) (uid int, dead bool) {
	data, err := os.ReadFile(entry + "/status")
	if err != nil {
		return -1, true
	}
	uid = -1
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 2:
		case fields[0] == "State:":
			dead = fields[1] == "Z" || fields[1] == "X"
		case fields[0] == "Uid:":
			if n, err := strconv.Atoi(fields[1]); err == nil {
				uid = n
			}
		}
	}
	return uid, dead
}

// lowestUID keeps sandboxes away from the system's own users.
const lowestUID = 20_000

// freeUID picks a user id that no sandbox of ours and no process has. It is
// random, because engines with other roots pick from the same range.
func freeUID(taken []*box) (int, error) {
	high := min(highestUID(), 1<<30)
	low := max(lowestUID, high/2)
	if high-low < 1000 {
		return 0, fmt.Errorf("too few user ids are mapped here: up to %d", high)
	}
	used := map[int]bool{65534: true, 65535: true}
	for _, b := range taken {
		used[b.UID] = true
	}
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		uid, _ := userOf(entry)
		used[uid] = true
	}
	for range 1000 {
		if uid := low + rand.IntN(high-low); !used[uid] {
			return uid, nil
		}
	}
	return 0, errors.New("no free user id")
}

// highestUID is the end of the user ids that this user namespace maps.
func highestUID() int {
	file, err := os.Open("/proc/self/uid_map")
	if err != nil {
		return 1 << 16 // no Linux
	}
	defer file.Close()
	highest := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var inside, outside, count int
		if n, _ := fmt.Sscan(lines.Text(), &inside, &outside, &count); n == 3 {
			highest = max(highest, inside+count)
		}
	}
	return highest
}
