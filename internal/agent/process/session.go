package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// killRounds bounds the passes over a cgroup while children are forked under our hands.
const killRounds = 8

// KillSession kills the process group led by pid, and every process of the session led by pid that is in the cgroup
// (empty: the group only). It does not wait.
func KillSession(pid int, cgroup string) {
	for range killRounds {
		_ = unix.Kill(-pid, unix.SIGKILL) // ESRCH: the group is gone already, which is what is wanted
		left := 0
		for _, member := range Members(cgroup) {
			if stat, err := ReadStat(member); err == nil && stat.Session == pid && stat.State != 'Z' {
				_ = unix.Kill(member, unix.SIGKILL)
				left++
			}
		}
		if left == 0 {
			return
		}
	}
}

// Members lists the processes in a cgroup directory, not in those below it. A missing cgroup has none.
func Members(cgroup string) []int {
	if cgroup == "" {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var pids []int
	for _, line := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Stat is the part of /proc/PID/stat (proc(5)) that is needed here. Start is in clock ticks since boot: with the pid it
// names a process for good, since pids are used again.
type Stat struct {
	State   byte
	Parent  int
	Session int
	Start   uint64
}

// ReadStat reads it. The command name may contain anything, so fields are counted from the last parenthesis.
func ReadStat(pid int) (Stat, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return Stat{}, err
	}
	return parseStat(data)
}

func parseStat(data []byte) (Stat, error) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return Stat{}, strconv.ErrSyntax
	}
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) < 20 {
		return Stat{}, strconv.ErrSyntax
	}
	parent, err1 := strconv.Atoi(fields[1])
	session, err2 := strconv.Atoi(fields[3])
	start, err3 := strconv.ParseUint(fields[19], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return Stat{}, strconv.ErrSyntax
	}
	return Stat{State: fields[0][0], Parent: parent, Session: session, Start: start}, nil
}
