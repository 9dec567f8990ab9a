package raftlog

import (
	"encoding/binary"
	"os"

	"holdfast/internal/planted"
)

// The planted bug WipedVoterVotes needs a memory that the log's file does not take with it: the incarnation is kept beside the
// log too, and given to the next one.
const formerSuffix = ".former"

// keepIncarnation notes the incarnation of the log at path; only with the bug built in.
func keepIncarnation(path string, incarnation uint64) error {
	if !planted.WipedVoterVotes {
		return nil
	}
	return os.WriteFile(path+formerSuffix, binary.BigEndian.AppendUint64(nil, incarnation), 0o600)
}

// freshIncarnation is that of a new log at path: drawn, unless the bug is built in and there was one before.
func freshIncarnation(path string) uint64 {
	if planted.WipedVoterVotes {
		if id, err := os.ReadFile(path + formerSuffix); err == nil && len(id) == 8 {
			return binary.BigEndian.Uint64(id)
		}
	}
	return drawIncarnation()
}
