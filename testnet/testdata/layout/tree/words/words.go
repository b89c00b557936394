// This comment does not name the package.
package words

import "example.org/bad/work/a"

var _ = a.Decide
