package dht

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	leveldb "github.com/ipfs/go-ds-leveldb"
	"go.uber.org/zap"
)

// Sizes of the database. They are far below goleveldb's, whose write buffer and
// block cache alone would take a fifth of an idle node's memory.
const (
	dbWriteBuffer = 1 << 20 // bytes, twice while it is written out
	dbBlockCache  = 1 << 20 // bytes
	dbOpenFiles   = 32
)

// openStore opens the database in dir. One that is damaged beyond repair is
// dropped: it holds hints, and the node announces anew what it holds.
func openStore(dir string, log *zap.Logger) (*leveldb.Datastore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the DHT: %w", err)
	}
	opts := &leveldb.Options{
		WriteBuffer:            dbWriteBuffer,
		BlockCacheCapacity:     dbBlockCache,
		OpenFilesCacheCapacity: dbOpenFiles,
	}
	db, err := leveldb.NewDatastore(dir, opts)
	if err == nil || foreseen(err) {
		return db, wrapOpen(dir, err)
	}
	log.Warn("records of the DHT can't be read, starting anew", zap.String("dir", dir), zap.Error(err))
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("drop damaged records of the DHT: %w", err)
	}
	db, err = leveldb.NewDatastore(dir, opts)
	return db, wrapOpen(dir, err)
}

// foreseen tells errors of the file system, and another process's lock, from a
// database that is damaged.
func foreseen(err error) bool {
	var errno syscall.Errno
	var path *fs.PathError
	return errors.As(err, &errno) || errors.As(err, &path)
}

func wrapOpen(dir string, err error) error {
	if err != nil {
		return fmt.Errorf("open the DHT's records in %s: %w", dir, err)
	}
	return nil
}
