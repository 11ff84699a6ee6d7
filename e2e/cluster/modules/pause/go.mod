module tenbin.invalid/pause

go 1.25.0
