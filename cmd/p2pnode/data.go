package main

import (
	"os"
	"path/filepath"
	"runtime"
)

// dataFolder returns where a node keeps its data if nobody says otherwise: the
// system's place for state for root and services, else the user's.
func dataFolder(env func(string) (string, bool)) (string, error) {
	switch runtime.GOOS {
	case "windows":
		// The machine's folder if this user can write there, as a service can.
		if dir, ok := env("ProgramData"); ok && dir != "" {
			dir = filepath.Join(dir, "p2pnode")
			if writable(dir) {
				return dir, nil
			}
		}
		dir, err := os.UserCacheDir() // %LocalAppData%
		return filepath.Join(dir, "p2pnode"), err
	case "darwin":
		home, err := os.UserHomeDir()
		return filepath.Join(home, "Library", "Application Support", "p2pnode"), err
	}
	if os.Geteuid() == 0 {
		return "/var/lib/p2pnode", nil
	}
	if dir, ok := env("XDG_STATE_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "p2pnode"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "p2pnode"), err
}

// shownDataFolder is the default of this system, for help texts: the same
// whoever asks.
func shownDataFolder() string {
	switch runtime.GOOS {
	case "windows":
		return `%ProgramData%\p2pnode or %LocalAppData%\p2pnode`
	case "darwin":
		return "~/Library/Application Support/p2pnode"
	}
	return "~/.local/state/p2pnode, for root /var/lib/p2pnode"
}

// writable reports whether dir, or the folder that it would be made in, can be
// written by this user.
func writable(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			return false
		}
		if err == nil {
			f, err := os.CreateTemp(dir, ".p2pnode-*")
			if err != nil {
				return false
			}
			return f.Close() == nil && os.Remove(f.Name()) == nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return false
		}
		dir = parent
	}
}
