package volume

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"holdfast/internal/block"
)

// runHandler runs a command of the handlers section, if there is one, with the environment drbdadm gives it. Nothing waits
// for it.
func (e *engine) runHandler(name string) {
	command := e.cfg.Resource.Handlers().Text(name, "")
	if command == "" {
		return
	}
	env := append(os.Environ(), e.handlerEnvironment()...)
	log := e.log.With("handler", name)
	log.Info("handler runs", "command", command)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), block.HandlerTimeout)
		defer cancel()
		c := exec.CommandContext(ctx, "/bin/sh", "-c", command)
		c.Env = env
		if out, err := c.CombinedOutput(); err != nil {
			log.Warn("handler failed", "err", err, "output", string(out))
		}
	}()
}

// handlerEnvironment is what handlers written for DRBD 8.4 find in theirs.
func (e *engine) handlerEnvironment() []string {
	host, family := e.other.Address.Host, "ipv4"
	for _, c := range host {
		if c == ':' {
			family = "ipv6"
		}
	}
	minor := strconv.Itoa(e.volume.Minor)
	return []string{
		"DRBD_RESOURCE=" + e.cfg.Resource.Name,
		"DRBD_VOLUME=" + strconv.Itoa(e.volume.Number),
		"DRBD_MINOR=" + minor,
		fmt.Sprintf("DRBD_MINOR_%d=%s", e.volume.Number, minor),
		"DRBD_LL_DISK=" + e.volume.Disk,
		"DRBD_PEER=" + e.other.Name(),
		"DRBD_PEERS=" + e.other.Name(),
		"DRBD_PEER_AF=" + family,
		"DRBD_PEER_ADDRESS=" + host,
	}
}
