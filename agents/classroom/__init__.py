"""Teachers of Classroom: they bid for the time of one student."""
