"""The shop with all that it needs: `python -m django_shop`, in the folder of the examples."""

from shop_play import play

MANAGE = ["-m", "django_shop.manage"]
GUNICORN = ["-m", "gunicorn", "--bind", "127.0.0.1:PORT", "--log-level", "warning"]

if __name__ == "__main__":
    play(
        make=[*MANAGE, "migrate", "--verbosity", "0"],
        server=[*GUNICORN, "--workers", "2", "--threads", "8", "django_shop.wsgi"],
        worker=[*MANAGE, "saga", "worker"],
    )
