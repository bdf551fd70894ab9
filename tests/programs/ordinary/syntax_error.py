print("never printed")
if True
    print("no colon")
