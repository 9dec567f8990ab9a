package bench

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ, which is 100 wherever Linux runs.
const clockTick = 10 * time.Millisecond

// processorTime is what the processes have used so far, in user and system mode; one that is gone counts as nothing.
func processorTime(pids [2]int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil {
			sum += decodeStat(string(text))
		}
	}
	return sum
}

// decodeStat adds utime and stime, fields 14 and 15 of proc_pid_stat(5). The name in field 2 may hold spaces.
func decodeStat(text string) time.Duration {
	_, rest, ok := strings.Cut(text, ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0
	}
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0
	}
	return time.Duration(user+system) * clockTick
}

// pids are the volume processes' numbers, 0 for one that does not run.
func (p *pair) pids() [2]int {
	var out [2]int
	for i, n := range p.record.nodes {
		if n.volume != nil {
			out[i] = n.volume.Process.Pid
		}
	}
	return out
}

// logs are the last lines of the processes' logs.
func (p *pair) logs() string {
	const most = 2000
	var b strings.Builder
	for _, n := range p.record.nodes {
		text, err := os.ReadFile(n.log.Name())
		if err != nil {
			continue
		}
		fmt.Fprintf(&b, "\n%s:\n%s", n.name, text[max(0, len(text)-most):])
	}
	return b.String()
}
